"""divcon eval MODEL LABELED [tasks=knn,linear] [split=train,val]"""

from typing import Annotated, Any

import typer

from ..errors import few
from .arguments import Json, Words, typed_options
from .terminal import print_answer


def eval(
    model: Annotated[str, typer.Argument(help="A run, a stage's folder, random:RUN, or random:NAME.")],
    labeled: Annotated[
        str, typer.Argument(help="A folder whose subfolders are the classes, or train/ and test/ with such subfolders.")
    ],
    words: Words = None,
    json: Json = False,
) -> None:
    """Score a model on labeled images: kNN and a linear classifier on its frozen features."""
    pairs = typed_options(
        words, "tasks", "seed", "split", "include", "exclude", "layer", "cache", "cache_gb", "workers"
    )
    from ..api.evaluate import evaluate
    from ..config import validate_arguments

    account = evaluate(model, labeled, **validate_arguments(evaluate, pairs))
    print_answer(account, json, _words(account))


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
