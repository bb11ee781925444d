"""Divide and Contrast: one good image encoder from images nobody curated (https://arxiv.org/abs/2105.08054).

    import divcon
    divcon.run("photos/", out="runs/photos", epochs=60)
    encoder = divcon.load("runs/photos")

The import is fast: the first call of a verb imports torch.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for editors and type checkers; a verb is found without a line here
    from .api.compare import compare
    from .api.demo import demo
    from .api.duplicates import duplicates
    from .api.embed import embed
    from .api.eval import eval
    from .api.evaluate import evaluate
    from .api.export import export
    from .api.index import index
    from .api.list_encoders import list_encoders
    from .api.list_methods import list_methods
    from .api.list_recipes import list_recipes
    from .api.load import load
    from .api.look import look
    from .api.neighbors import neighbors
    from .api.pick import pick
    from .api.plan import plan
    from .api.redo import redo
    from .api.report import report
    from .api.run import run
    from .api.status import status
    from .api.transfer import transfer

__version__ = "0.1.0"
__all__ = [
    "compare",
    "demo",
    "duplicates",
    "embed",
    "eval",
    "evaluate",
    "export",
    "index",
    "list_encoders",
    "list_methods",
    "list_recipes",
    "load",
    "look",
    "neighbors",
    "pick",
    "plan",
    "redo",
    "report",
    "run",
    "status",
    "transfer",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    """Return the verb `name`: the function of that name in divcon/api/NAME.py."""
    module = f"{__name__}.api.{name}"
    try:
        verb: object = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        verb = None
    if verb is None:
        raise AttributeError(f"module 'divcon' has no attribute {name!r}; its verbs are {', '.join(__all__)}")
    return verb
