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
    from .api.load import load
    from .api.look import look
    from .api.redo import redo
    from .api.run import run
    from .api.status import status

__version__ = "0.1.0"
__all__ = ["demo", "embed", "evaluate", "load", "look", "redo", "run", "status"]

_VERBS = {
    "demo": "demo", "look": "folders", "redo": "folders", "status": "folders",
    "embed": "models", "evaluate": "models", "load": "models", "run": "running",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _VERBS:
        raise AttributeError(f"module 'divcon' has no attribute {name!r}; its verbs are {', '.join(__all__)}")
    return getattr(importlib.import_module(f"{__name__}.verbs.{_VERBS[name]}"), name)
