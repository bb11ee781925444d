"""divcon recipes"""

from .arguments import Json
from .terminal import print_names


def recipes(json: Json = False) -> None:
    """List the recipes that recipe= takes."""
    from ..recipes import named, names

    print_names({name: named(name).about for name in names()}, json)
