"""divcon recipes"""

from .arguments import Json
from .terminal import answer_names


def recipes(json: Json = False) -> None:
    """List the recipes."""
    from ..recipes import named, names

    answer_names({name: named(name).about for name in names()}, json)
