"""Score a model on labeled images."""

from dataclasses import dataclass, replace
from pathlib import Path

from .. import machine
from ..answers import Answer
from ..config import Gigabytes, Seed, Workers
from ..data.labeled.labeled import Labeled, open_labeled
from ..data.labeled.layout import Split
from ..errors import UsageError
from ..evals.scores import KnnScores, LinearScores, Probe
from ..evals.split import train_test_split
from ..files.caches import cache_folder
from ..nets.net import Layer
from ..nets.trained import Trained
from .entry import runs_alone
from .models import Patterns, extract_features, find_model

TASKS = ("knn", "linear")


@dataclass(frozen=True)
class EvaluateAnswer(Answer):
    """The answer of `evaluate`: counts of images and classes, how the images were split, and the scores of each task.

    The scores of a task that was not asked for are None.
    """

    model: str
    images: int
    train: int
    test: int
    classes: int
    split_seed: int
    dropped_classes: list[str]
    parts: dict[str, list[str]] | None
    left_out: dict[str, int]
    knn: KnnScores | None = None
    linear: LinearScores | None = None


@runs_alone
def evaluate(
    model: str | Path | Trained,
    labeled: str | Path | Labeled,
    *,
    tasks: str | tuple[str, ...] = TASKS,
    seed: Seed = 0,
    split: Split = "auto",
    include: Patterns = (),
    exclude: Patterns = (),
    layer: Layer = "pool",
    cache: str | Path | None = None,
    cache_gb: Gigabytes = 8.0,
    workers: Workers | None = None,
) -> EvaluateAnswer:
    """Return the kNN and linear accuracy, in 0..1, of a model's frozen features on a labeled folder.

    Penalties are chosen on held-out training images; the test images are used once. `split` is the layout of the folder, if
    its names don't show it: None if each subfolder is a class, or "train,val". `seed` splits a folder without parts.
    Raises DataError if the images can't be split, or are too few.
    """
    names = _task_names(tasks)
    folder = cache_folder(cache)
    data = (
        labeled
        if isinstance(labeled, Labeled)
        else open_labeled(labeled, split=split, include=include, exclude=exclude, cache=folder, workers=workers)
    )
    train, test, dropped = train_test_split(data, seed)
    trained = model if isinstance(model, Trained) else find_model(model)
    x = extract_features(trained, data.images, layer=layer, cache=folder, cache_gb=cache_gb, workers=workers)
    name = trained.fingerprint if isinstance(model, Trained) else str(model)
    answer = _counts(name, data, seed, len(train), len(test), dropped)
    scores = Probe.of(x, data.labels, train, test, data.classes).scores(
        names, seed, machine.choose(folder, workers=workers).precision
    )
    return replace(answer, knn=scores.knn, linear=scores.linear)


def _counts(name: str, data: Labeled, seed: int, train: int, test: int, dropped: list[int]) -> EvaluateAnswer:
    """The answer without scores; `train` and `test` are numbers of images, `dropped` the classes with one image."""
    return EvaluateAnswer(
        model=name,
        images=train + test,
        train=train,
        test=test,
        classes=len(data.classes) - len(dropped),
        split_seed=seed,
        dropped_classes=[data.classes[i] for i in dropped],
        parts=data.layout.as_dict(),
        left_out=dict(data.left_out),
    )


def _task_names(tasks: str | tuple[str, ...]) -> tuple[str, ...]:
    """The names of the tasks; UsageError for an unknown one."""
    names = tuple(tasks.split(",")) if isinstance(tasks, str) else tuple(tasks)
    if set(names) - set(TASKS):
        raise UsageError(f"tasks={','.join(names)}: there is {', '.join(TASKS)}")
    return names
