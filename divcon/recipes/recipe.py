"""A recipe by its name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..pipelines.recipe import Recipe
from .options import Options


@dataclass(frozen=True)
class NamedRecipe:
    """A recipe: `about` is a line for `divcon recipes`; `defaults` are the short options with a value of the recipe's own;
    `recipe` returns the settings of a pipeline for n images; `doc` says the command, the expected time and score, and notes."""

    about: str
    defaults: Mapping[str, object]
    recipe: Callable[[Options, int], Recipe]
    doc: str


def documentation(about: str, command: str, expected: str, notes: str) -> str:
    """The text about a recipe, laid out as the header of a recipe's file is."""
    paragraphs = [f"{about}.", f"    divcon run DATA out=RUN {command}", f"Expected: {expected}", notes]
    return "\n\n".join(part for part in paragraphs if part)
