"""Divide and Contrast: one good image encoder from images nobody curated (https://arxiv.org/abs/2105.08054).

    import divcon
    divcon.run("photos/", out="runs/photos", epochs=60)
    encoder = divcon.load("runs/photos")

Importing the package is cheap: torch comes with the first verb.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api.demo import demo
    from .api.embed import embed
    from .api.evaluate import evaluate
    from .api.index import index
    from .api.load import load
    from .api.look import look
    from .api.plan import plan
    from .api.redo import redo
    from .api.run import run
    from .api.status import status

__version__ = "0.1.0"
__all__ = ["demo", "embed", "evaluate", "index", "load", "look", "plan", "redo", "run", "status"]


def __getattr__(name: str) -> Any:
    """The verb NAME: the function of that name in divcon/api/NAME.py."""
    try:
        found = getattr(importlib.import_module(f"{__name__}.api.{name}"), name, None)
    except ModuleNotFoundError as error:
        found = None
        if error.name != f"{__name__}.api.{name}":
            raise
    if found is None:
        raise AttributeError(f"module 'divcon' has no attribute {name!r}; its verbs are {', '.join(__all__)}")
    return found
