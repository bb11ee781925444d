"""divcon recipes [NAME]"""

from typing import Annotated

import typer

from .arguments import Json
from .terminal import print_answer, print_names


def recipes(
    name: Annotated[str | None, typer.Argument(help="A recipe, to read all about it.")] = None, json: Json = False
) -> None:
    """List the recipes; or, with a NAME, show its command, its expected time and score, and its notes."""
    from ..api.list_recipes import list_recipes
    from ..recipes import named

    if name is None:
        print_names(list_recipes(), json)
    else:
        recipe = named(name)
        print_answer({"name": name, "about": recipe.about, "doc": recipe.doc}, json, recipe.doc.strip())
