"""divcon eval MODEL LABELED [tasks=knn,linear] [split=train,val]"""

from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import few
from ..files.text import counted
from .arguments import Json, ModelArgument, Words, typed_options
from .terminal import print_answer

if TYPE_CHECKING:
    from ..runs.evals import EvaluateAnswer, KnnScores


def eval(
    model: ModelArgument,
    labeled: Annotated[
        str, typer.Argument(help="A folder whose subfolders are the classes, or train/ and test/ with such subfolders.")
    ],
    words: Words = None,
    json: Json = False,
) -> None:
    """Score a model on labeled images. The scores are of kNN and of a linear classifier on its frozen features."""
    options = typed_options(
        words, "tasks", "seed", "split", "include", "exclude", "layer", "whiten", "cache", "cache_gb", "workers"
    )
    from ..api.evaluate import evaluate
    from ..config import validate_arguments

    answer = evaluate(model, labeled, **validate_arguments(evaluate, options))
    print_answer(answer, json, _text(answer))


def _text(answer: "EvaluateAnswer") -> str:
    dropped = f"; left out, for want of images: {few(answer.dropped_classes)}" if answer.dropped_classes else ""
    counts = f"({counted(answer.images, 'image')}, {counted(answer.classes, 'class')}{dropped}{_parts(answer.parts)})"
    return f"{', '.join(_scores(answer))} {counts}{_reason(answer)}"


def _scores(answer: "EvaluateAnswer") -> list[str]:
    knn, linear = answer.knn, answer.linear
    scores = [f"20-NN {knn.k20:.1%}, 200-NN {knn.k200:.1%}{_raw(knn)}"] if knn else []
    return scores + ([f"linear {linear.top1:.1%}"] if linear and linear.top1 is not None else [])


def _raw(knn: "KnnScores") -> str:
    return f" (raw features: {knn.raw.k20:.1%}, {knn.raw.k200:.1%})" if knn.raw else ""


def _reason(answer: "EvaluateAnswer") -> str:
    linear = answer.linear
    return f"\nlinear: not scored: {linear.reason}" if linear and linear.reason else ""


def _parts(parts: dict[str, list[str]] | None) -> str:
    if parts is None:
        return ""
    train, test = (" and ".join(f"{name}/" for name in parts[part]) for part in ("train", "test"))
    return f"; learned from {train}, tested on {test}"
