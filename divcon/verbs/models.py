"""Finding a model by what one types for it, and using it: MODEL is a run folder (its final encoder), a stage folder,
`random:RUN` (that run's own architecture, untrained) or `random:NAME` (an encoder by name, untrained)."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .. import machine
from ..artifacts import cache_folder, show, whole
from ..book import Book
from ..config import Gigabytes, Seed, Threads
from ..data.images import Images, open_images
from ..data.labelled import Labelled, open_labelled
from ..data.pixels import open_pixels
from ..errors import InputError, UsageError
from ..evals.knn import knn
from ..evals.linear import linear
from ..evals.split import split
from ..fit.looking import encode
from ..nets.encoder import SLIM, EncoderSpec, check_name
from ..nets.net import Place
from ..nets.trained import Sight, Trained, untrained
from ..paths import Data
from .door import verb

TASKS = ("knn", "linear")


@verb
def load(model: str | Path) -> nn.Module:
    """The encoder: normalised images [B, 3, H, W] -> features [B, num_features], in eval mode."""
    return find_model(model).net.encoder


@verb
def find_model(model: str | Path) -> Trained:
    """What MODEL names."""
    text = str(model)
    if text.startswith("random:"):
        return _untrained(text.removeprefix("random:"))
    folder = Path(model)
    if not (folder / "run.json").exists():
        return Trained.load(folder)
    final = folder / Book.read(folder).final
    if not (final / "stage.json").exists():
        raise InputError(
            f"{show(final)} is not done; go on with divcon run, or name a finished stage, like {show(folder)}/base"
        )
    return Trained.load(final)


def _untrained(name: str) -> Trained:
    if (Path(name) / "run.json").exists():
        trained = Trained.load(_any_finished(Path(name)))
        return untrained(EncoderSpec(trained.spec.name, trained.spec.options, trained.spec.stem), trained.sight)
    check_name(name)
    return untrained(EncoderSpec(name), Sight(32 if name in SLIM else 224))


def _any_finished(run: Path) -> Path:
    for about in sorted(run.rglob("encoder.json")):
        return about.parent
    raise InputError(f"{show(run)} has no finished stage yet, so its architecture is not known")


def features(
    model: Trained,
    images: Images,
    *,
    place: Place = "pool",
    cache: Path,
    cache_gb: Gigabytes = 8.0,
    threads: Threads | None = None,
) -> torch.Tensor:
    """What the model sees of every image, in order: [N, D], centre views, float32."""
    here = machine.choose(cache, readers=threads)
    pixels = open_pixels(images, 2 * model.sight.size, cache=cache, cache_gb=cache_gb, threads=here.readers)
    with here.use():
        return encode(model.net, model.sight, pixels, here, place=place)


@verb
def evaluate(
    model: str | Path | Trained, labelled: str | Path | Labelled, *, tasks: str | tuple[str, ...] = TASKS, seed: Seed = 0,
    place: Place = "pool", cache: str | Path | None = None, cache_gb: Gigabytes = 8.0, threads: Threads | None = None,
) -> dict[str, Any]:  # fmt: skip
    """kNN and linear accuracy, in 0..1, on a labelled folder: `{"knn": {"k20", "k200", "top1"}, "linear": {"top1"}, ...}`.

    Penalties are chosen on held-out training images; the test images are touched once.
    """
    asked = tuple(tasks.split(",")) if isinstance(tasks, str) else tuple(tasks)
    if set(asked) - set(TASKS):
        raise UsageError(f"tasks={','.join(asked)}: there is {', '.join(TASKS)}")
    folder = cache_folder(cache)
    data = labelled if isinstance(labelled, Labelled) else open_labelled(labelled, cache=folder, threads=threads)
    train, test, dropped = split(data, seed)
    trained = model if isinstance(model, Trained) else find_model(model)
    x, y = features(trained, data.images, place=place, cache=folder, cache_gb=cache_gb, threads=threads), data.labels
    result: dict[str, Any] = {
        "model": str(model) if not isinstance(model, Trained) else trained.fingerprint, "images": len(train) + len(test),
        "train": len(train), "test": len(test), "classes": len(data.classes) - len(dropped), "split_seed": seed,
        "dropped_classes": [data.classes[i] for i in dropped],
    }  # fmt: skip
    parts = torch.from_numpy(y[train]), torch.from_numpy(y[test])
    precision = machine.choose(folder, readers=threads).precision
    if "knn" in asked:
        scores = knn(x[train], parts[0], x[test], parts[1], ks=(20, 200), precision=precision)
        result["knn"] = {"k20": scores[20], "k200": scores[200], "top1": scores[20]}
    if "linear" in asked:
        score = linear(x[train], parts[0], x[test], parts[1], seed=seed, precision=precision)
        result["linear"] = {"top1": score.top1, "penalty": score.penalty}
    return result


@verb
def embed(
    model: str | Path, data: Data, *, out: str | Path, place: Place = "pool", cache: str | Path | None = None,
    cache_gb: Gigabytes = 8.0, threads: Threads | None = None,
) -> int:  # fmt: skip
    """Write what the model sees of each image to a parquet file with columns `path` and `embedding`; how many."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if Path(out).suffix != ".parquet":
        raise UsageError(f"out={out}: embeddings are written as parquet; let the name end in .parquet")
    folder = cache_folder(cache)
    images = open_images(data, cache=folder, threads=threads)
    x = features(find_model(model), images, place=place, cache=folder, cache_gb=cache_gb, threads=threads)
    rows = pa.FixedSizeListArray.from_arrays(pa.array(x.numpy().ravel()), x.shape[1])
    table = pa.table(
        {"path": pa.array([show(name) for name in images.names(np.arange(len(images)))]), "embedding": rows}
    )
    with whole(Path(out)) as part, part.open("wb") as file:  # of a name, Arrow makes a URI where it can
        pq.write_table(table, file, compression="none")
    return len(images)
