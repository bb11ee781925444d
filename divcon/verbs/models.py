"""Finding a model by what one types for it, and using it: MODEL is a run folder (its final encoder), a stage folder,
`random:RUN` (that run's own architecture, untrained) or `random:NAME` (an encoder by name, untrained)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .. import machine
from ..artifacts import cache_folder, refuse_unwritable, show, whole
from ..book import Book
from ..config import Gigabytes, Seed, Threads
from ..data.files import Files
from ..data.images import Images, open_images
from ..data.labelled import Labelled, open_labelled
from ..data.layout import Split
from ..data.names import as_text
from ..data.pixels import open_pixels
from ..errors import InputError, UsageError
from ..evals.scores import Probe
from ..evals.split import split as divided
from ..fit.loaded import Encoder
from ..fit.looking import encode
from ..nets.encoder import SLIM, EncoderSpec, check_spec
from ..nets.net import Place
from ..nets.timm_models import untyped_size
from ..nets.trained import Sight, Trained, untrained
from ..paths import Data
from .door import verb
from .trying import check_shown

TASKS = ("knn", "linear")
ROWS = 2**16  # of a table, in work at a time
Patterns = str | tuple[str, ...]  # of paths


@verb
def load(model: str | Path) -> Encoder:
    """The encoder: normalised images [B, 3, H, W] -> features [B, num_features], in eval mode; its `preprocess` makes such an
    image of a picture, as `embed` does."""
    trained = find_model(model)
    return Encoder(trained.net.encoder, trained.sight).eval()


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
    spec = EncoderSpec(name)
    check_spec(spec)
    return untrained(spec, Sight(32 if name in SLIM else untyped_size(name)))


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
    pixels = open_pixels(images, model.sight.short_side, cache=cache, cache_gb=cache_gb, threads=here.readers)
    with here.use():
        check_shown(model)
        return encode(model.net, model.sight, pixels, here, place=place)


@verb
def evaluate(
    model: str | Path | Trained, labelled: str | Path | Labelled, *, tasks: str | tuple[str, ...] = TASKS, seed: Seed = 0,
    split: Split = "auto", include: Patterns = (), exclude: Patterns = (),
    place: Place = "pool", cache: str | Path | None = None, cache_gb: Gigabytes = 8.0, threads: Threads | None = None,
) -> dict[str, Any]:  # fmt: skip
    """kNN and linear accuracy, in 0..1, on a labelled folder: `{"knn": {"k20", "k200", "top1", "balanced", "per_class"}, ...}`.

    Penalties are chosen on held-out training images; the test images are touched once. `split` says how the folder is laid
    out, where its names don't: None if each subfolder is a class, or "train,val". A score that can't be had is None, and
    has its `reason`.
    """
    asked = tuple(tasks.split(",")) if isinstance(tasks, str) else tuple(tasks)
    if set(asked) - set(TASKS):
        raise UsageError(f"tasks={','.join(asked)}: there is {', '.join(TASKS)}")
    folder = cache_folder(cache)
    data = labelled if isinstance(labelled, Labelled) else open_labelled(
        labelled, split=split, include=include, exclude=exclude, cache=folder, threads=threads
    )  # fmt: skip
    train, test, dropped = divided(data, seed)
    trained = model if isinstance(model, Trained) else find_model(model)
    x = features(trained, data.images, place=place, cache=folder, cache_gb=cache_gb, threads=threads)
    probe = Probe.of(x, data.labels, train, test, data.classes)
    precision = machine.choose(folder, readers=threads).precision
    return {
        "model": str(model) if not isinstance(model, Trained) else trained.fingerprint, "images": len(train) + len(test),
        "train": len(train), "test": len(test), "classes": len(data.classes) - len(dropped), "split_seed": seed,
        "dropped_classes": [data.classes[i] for i in dropped], "parts": data.layout.account(), "left_out": dict(data.left_out),
        **probe.scores(asked, seed, precision),
    }  # fmt: skip


@dataclass(frozen=True)
class Embedded:
    """How many files have a row, and how many different pictures are in them."""

    files: int
    pictures: int


@verb
def embed(
    model: str | Path, data: Data, *, out: str | Path, include: Patterns = (), exclude: Patterns = (),
    place: Place = "pool", cache: str | Path | None = None, cache_gb: Gigabytes = 8.0, threads: Threads | None = None,
) -> Embedded:  # fmt: skip
    """Write what the model sees of each image to a parquet file, a row for each file that can be read: `path` (null where
    it is not UTF-8), `path_bytes`, `picture` (copies have the same number and vector) and `embedding`."""
    if Path(out).suffix != ".parquet":
        raise UsageError(f"out={out}: embeddings are written as parquet; let the name end in .parquet")
    refuse_unwritable(Path(out))
    folder = cache_folder(cache)
    images = open_images(data, include=include, exclude=exclude, cache=folder, threads=threads)
    x = features(find_model(model), images, place=place, cache=folder, cache_gb=cache_gb, threads=threads)
    files = Files.of(images.index)
    _write_embeddings(Path(out), files, x.numpy())
    return Embedded(len(files.paths), len(images))


def _write_embeddings(out: Path, files: Files, x: NDArray[np.float32]) -> None:
    """One row a file, some thousands at a time: copies take no memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        {"path": pa.string(), "path_bytes": pa.binary(), "picture": pa.int64(), "embedding": pa.list_(pa.float32(), x.shape[1])}
    )  # fmt: skip
    with whole(out) as part, part.open("wb") as file, pq.ParquetWriter(file, schema, compression="none") as writer:
        for begin in range(0, len(files.paths), ROWS):
            paths, pictures = files.paths[begin : begin + ROWS], files.pictures[begin : begin + ROWS]
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(x[pictures].ravel()), x.shape[1])
            columns = [as_text(path) for path in paths], paths, pictures, vectors
            writer.write_table(pa.table(dict(zip(schema.names, columns, strict=True)), schema))
