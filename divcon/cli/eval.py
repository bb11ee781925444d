"""divcon eval MODEL LABELLED [tasks=knn,linear]"""

from typing import Annotated, Any

import typer

from ..errors import few
from .screen import answer
from .words import Json, Words, options


def eval(
    model: Annotated[str, typer.Argument(help="A run, a stage's folder, random:RUN, or random:NAME.")],
    labelled: Annotated[str, typer.Argument(help="A folder whose first-level subfolders are the classes.")],
    words: Words = None,
    json: Json = False,
) -> None:
    """Score a model on labelled images: kNN and a linear classifier on its frozen features."""
    pairs = options(words, "tasks", "seed", "place", "cache", "cache_gb", "threads")
    from ..config import arguments
    from ..verbs.models import evaluate

    account = evaluate(model, labelled, **arguments(evaluate, pairs))
    answer(account, json, _words(account))


def _words(account: dict[str, Any]) -> str:
    scores = [f"20-NN {account['knn']['k20']:.1%}, 200-NN {account['knn']['k200']:.1%}"] if "knn" in account else []
    scores += [f"linear {account['linear']['top1']:.1%}"] if "linear" in account else []
    left_out = (
        f"; left out, for want of images: {few(account['dropped_classes'])}" if account["dropped_classes"] else ""
    )
    return f"{', '.join(scores)} ({account['images']:,} images, {account['classes']} classes{left_out})"
