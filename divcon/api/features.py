"""The features of a run's images by its final encoder, computed once; and those of other pictures."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from jaxtyping import Float16, Float32
from torch import Tensor

from .. import machine
from ..clustering.features import Features
from ..config import Gigabytes, Workers
from ..data.images import Images
from ..errors import DamagedError, DiskError, OwnedError
from ..files.atomic import atomic_write
from ..files.caches import skip_if_unwritable
from ..files.disk_errors import refuse_unwritable
from ..files.integrity import digest, mismatches, sha256, write_json
from ..files.paths import Data
from ..files.text import printable
from ..log import info, warning
from ..nets.trained import Trained
from ..nets.whitening import Whitening
from ..runs import owner
from ..runs.folder import FEATURES, FEATURES_FILE, MANIFEST, WHITENING, RunFolder
from ..runs.json_files import load_record
from ..runs.records import run_record
from ..runs.refusals import refuse_links
from ..train.encode import to_input
from ..train.loaded_encoder import Preprocess
from ..train.pictures import Picture
from ..train.streamed_rows import forget_parts, stream_rows
from .collection import open_run_images
from .encoder_check import check_input_size
from .models import ImageEncoder, arithmetic, encoder_of, find_model

BATCH = 64  # pictures


@dataclass(frozen=True)
class FeaturesRecord:
    """MANIFEST.json of a run's features: the fingerprints of the encoder and of the images, and the hash of the file."""

    encoder: str
    images: str
    sha256: dict[str, str]


def run_features(
    run: Path,
    data: Data | None = None,
    *,
    images: Callable[[], Images] | None = None,
    whiten: bool = True,
    cache: Path,
    cache_gb: Gigabytes = 8.0,
    workers: Workers | None = None,
) -> Features:
    """Return the pooled features of all images of a run by its final encoder, in the order of their positions.

    They are compared whitened, unless whiten=False. They are computed once and kept in RUN/features, raw and in float16, or in the
    cache if the run can't be written to. The images are read only if the features are not kept yet, or belong to another encoder;
    `images` opens them if they are needed elsewhere, too.
    """
    model, fingerprint = find_model(run), run_record(run).images
    cached = cache / FEATURES / digest(f"{model.fingerprint} {fingerprint}")
    for folder in (RunFolder(run).features, cached):
        if _are_kept(folder, model.fingerprint, fingerprint):
            return _load(folder, model, whiten)
    opened = images() if images else open_run_images(run, data, cache=cache, workers=workers)
    encoder = encoder_of(model, opened, cache=cache, cache_gb=cache_gb, workers=workers)
    key = digest(f"{model.fingerprint} {fingerprint} {arithmetic(cache, workers)}")
    with _folder_to_write(run, cached, cache) as place:
        _compute(place, encoder, key)
        _describe(place, model, fingerprint)
        return _load(place, model, whiten)


@torch.no_grad()
def features_of_pictures(
    model: Trained, pictures: Sequence[Picture], *, cache: Path, workers: Workers | None = None
) -> Float32[Tensor, "m d"]:
    """Return the raw pooled features of single pictures, prepared and computed as those of a collection are: `run_features`
    whitens them by `comparable`.

    Raises InputError for a file that `divcon look` would reject.
    """
    chosen, preprocess = machine.choose(cache, workers=workers), Preprocess(model.input_spec)
    parts = []
    with chosen.use():
        check_input_size(model)
        net = chosen.to_device(model.net).eval()
        for begin in range(0, len(pictures), BATCH):
            views = np.stack([preprocess.view(picture) for picture in pictures[begin : begin + BATCH]])
            with chosen.autocast():
                parts.append(net(to_input(views, model.input_spec, chosen), "pool").float().cpu())
    return torch.cat(parts)


def _are_kept(folder: Path, encoder: str, images: str) -> bool:
    """True if the folder has the features of these images by this encoder; a damaged file is computed again."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return False
    try:
        record = load_record(FeaturesRecord, manifest)
        damage = mismatches(manifest)
    except DamagedError as error:
        record, damage = None, [str(error)]
    if damage:
        warning(f"{'; '.join(damage)}. The features are computed again")
    return not damage and record is not None and (record.encoder, record.images) == (encoder, images)


@contextmanager
def _folder_to_write(run: Path, cached: Path, cache: Path) -> Iterator[Path]:
    """Own and yield RUN/features; `cached` if the run can't be written to; else a folder that passes. If another process is
    about to compute the same features, each computes its own."""
    with ExitStack() as stack:
        yield _entered(stack, run, cached, cache)


def _entered(stack: ExitStack, run: Path, cached: Path, cache: Path) -> Path:
    folder = RunFolder(run).features
    try:
        refuse_links(run, [FEATURES])
        refuse_unwritable(folder / FEATURES_FILE)
        stack.enter_context(owner.owned(folder))
        return folder
    except (DiskError, OwnedError) as error:
        warning(f"the features are not kept in the run, but in the cache: {error}")
    with skip_if_unwritable(cache), suppress(OwnedError):
        refuse_unwritable(cached / FEATURES_FILE)
        stack.enter_context(owner.owned(cached))
        return cached
    return Path(stack.enter_context(TemporaryDirectory()))  # the mapped file stays readable when its name is gone


def _compute(folder: Path, encoder: ImageEncoder, key: str) -> None:
    """Write the features of all images, and their whitening if the encoder has none of its own."""
    n = len(encoder.pixels)
    info(f"computing the features of {n:,} images, once, into {printable(folder)}")
    (folder / MANIFEST).unlink(missing_ok=True)
    x = stream_rows(folder / FEATURES_FILE, np.arange(n), lambda at: encoder(at).numpy().astype(np.float16), key)
    own = encoder.model.whitening
    fitted = Features.of(x, own).whitening
    (folder / WHITENING).unlink(missing_ok=True)
    if own is None and fitted is not None:
        with atomic_write(folder / WHITENING) as part:
            fitted.save(part)


def _describe(folder: Path, model: Trained, images: str) -> None:
    """Write the manifest, last: the features are complete."""
    names = (FEATURES_FILE, WHITENING) if model.whitening is None else (FEATURES_FILE,)
    hashes = {name: sha256(folder / name) for name in names}
    write_json(folder / MANIFEST, asdict(FeaturesRecord(model.fingerprint, images, hashes)))
    forget_parts(folder / FEATURES_FILE)


def _load(folder: Path, model: Trained, whiten: bool) -> Features:
    x: Float16[np.ndarray, "n d"] = np.load(folder / FEATURES_FILE, mmap_mode="r")
    return Features(x, (model.whitening or Whitening.load(folder / WHITENING)) if whiten else None)
