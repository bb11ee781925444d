"""divcon recipes | methods | encoders: what there is, a line each"""

from .options import Json
from .terminal import answer, table


def recipes(json: Json = False) -> None:
    """List the recipes."""
    from .. import recipes as all_recipes

    _list({name: all_recipes.named(name).about for name in all_recipes.names()}, json)


def methods(json: Json = False) -> None:
    """List the methods."""
    from ..methods import contract

    _list({name: contract.method_named(name).about for name in contract.method_names()}, json)


def encoders(json: Json = False) -> None:
    """List the encoders: ours, and all of timm's."""
    from ..nets.encoder import SLIM, names

    _list({name: "a slim ResNet-10" if name in SLIM else "timm" for name in names()}, json)


def _list(about: dict[str, str], json: bool) -> None:
    answer(about, json, table(["name", "about"], [[name, line] for name, line in about.items()]))
