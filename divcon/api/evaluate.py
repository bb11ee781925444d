"""Score a model on a labeled folder."""

from pathlib import Path
from typing import Any

from .. import machine
from ..config import Gigabytes, Seed, Workers
from ..data.labeled.labeled import Labeled, open_labeled
from ..data.labeled.layout import Split
from ..errors import UsageError
from ..evals.scores import Probe
from ..evals.split import train_test_split
from ..files.caches import cache_folder
from ..nets.net import Layer
from ..nets.trained import Trained
from .entry import exclusive
from .models import Patterns, features, find_model

TASKS = ("knn", "linear")


@exclusive
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
) -> dict[str, Any]:
    """kNN and linear accuracy, in 0..1, on a labeled folder: `{"knn": {"k20", "k200", "top1", "balanced", "per_class"}, ...}`.

    Penalties are chosen on held-out training images; the test images are touched once. `split` says how the folder is laid
    out, where its names don't: None if each subfolder is a class, or "train,val". A score that can't be had is None, and
    has its `reason`.
    """
    asked = tuple(tasks.split(",")) if isinstance(tasks, str) else tuple(tasks)
    if set(asked) - set(TASKS):
        raise UsageError(f"tasks={','.join(asked)}: there is {', '.join(TASKS)}")
    folder = cache_folder(cache)
    data = (
        labeled
        if isinstance(labeled, Labeled)
        else open_labeled(labeled, split=split, include=include, exclude=exclude, cache=folder, workers=workers)
    )
    train, test, dropped = train_test_split(data, seed)
    trained = model if isinstance(model, Trained) else find_model(model)
    x = features(trained, data.images, layer=layer, cache=folder, cache_gb=cache_gb, workers=workers)
    probe = Probe.of(x, data.labels, train, test, data.classes)
    precision = machine.choose(folder, workers=workers).precision
    return {
        "model": str(model) if not isinstance(model, Trained) else trained.fingerprint,
        "images": len(train) + len(test),
        "train": len(train),
        "test": len(test),
        "classes": len(data.classes) - len(dropped),
        "split_seed": seed,
        "dropped_classes": [data.classes[i] for i in dropped],
        "parts": data.layout.account(),
        "left_out": dict(data.left_out),
        **probe.scores(asked, seed, precision),
    }
