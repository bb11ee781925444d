"""A recipe by its name."""

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..pipelines.recipe import Recipe
from .options import Options

WIDTH = 120  # characters in a line of text


@dataclass(frozen=True)
class NamedRecipe:
    """A recipe: `about` is a line for `divcon recipes`; `defaults` are the short options with a value of the recipe's own;
    `recipe` returns the settings of a pipeline for n images; `doc` says the command, the expected time and score, and notes.
    `notice` returns a line to be told when a run of n images begins: what was measured of the recipe at such a budget."""

    about: str
    defaults: Mapping[str, object]
    recipe: Callable[[Options, int], Recipe]
    doc: str
    notice: Callable[[Options, int], str | None] = lambda options, n: None


def documentation(about: str, command: str, expected: str, notes: str) -> str:
    """The text about a recipe, with the layout of a recipe file's header."""
    end = [textwrap.fill(part, WIDTH) for part in (f"Expected: {expected}", notes) if part]
    return "\n\n".join([f"{about}.", f"    divcon run DATA out=RUN {command}", *end])
