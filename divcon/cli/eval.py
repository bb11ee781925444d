"""divcon eval MODEL LABELLED [tasks=knn,linear] [split=train,val]"""

from typing import Annotated, Any

import typer

from ..errors import few
from .screen import answer
from .words import Json, Words, options


def eval(
    model: Annotated[str, typer.Argument(help="A run, a stage's folder, random:RUN, or random:NAME.")],
    labelled: Annotated[
        str, typer.Argument(help="A folder whose subfolders are the classes, or train/ and test/ with such subfolders.")
    ],
    words: Words = None,
    json: Json = False,
) -> None:
    """Score a model on labelled images: kNN and a linear classifier on its frozen features."""
    pairs = options(words, "tasks", "seed", "split", "include", "exclude", "place", "cache", "cache_gb", "threads")
    from ..config import arguments
    from ..verbs.models import evaluate

    account = evaluate(model, labelled, **arguments(evaluate, pairs))
    answer(account, json, _words(account))


def _words(account: dict[str, Any]) -> str:
    left_out = (
        f"; left out, for want of images: {few(account['dropped_classes'])}" if account["dropped_classes"] else ""
    )
    counts = f"({account['images']:,} images, {account['classes']} classes{left_out}{_parts(account['parts'])})"
    why = f"\nlinear: not scored: {account['linear']['reason']}" if "reason" in account.get("linear", {}) else ""
    return f"{', '.join(_scores(account))} {counts}{why}"


def _scores(account: dict[str, Any]) -> list[str]:
    knn, linear = account.get("knn"), account.get("linear")
    scores = [f"20-NN {knn['k20']:.1%}, 200-NN {knn['k200']:.1%}"] if knn else []
    return scores + ([f"linear {linear['top1']:.1%}"] if linear and linear["top1"] is not None else [])


def _parts(parts: dict[str, list[str]] | None) -> str:
    if parts is None:
        return ""
    train, test = (" and ".join(f"{name}/" for name in parts[side]) for side in ("train", "test"))
    return f"; learned from {train}, tested on {test}"
