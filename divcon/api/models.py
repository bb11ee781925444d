"""Find a model by its name, and compute the features of images with it."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from .. import machine
from ..config import Gigabytes, Workers
from ..data.images import Images
from ..data.pixels.pixel_cache import open_pixels
from ..errors import InputError, UsageError
from ..files.text import printable
from ..log import info
from ..nets.encoder import SLIM, EncoderSpec, check_spec
from ..nets.net import Layer
from ..nets.timm_models import default_size
from ..nets.trained import InputSpec, Trained, untrained
from ..nets.whitening import Whitening
from ..runs.folder import ENCODER, ENCODER_SETTINGS, RunFolder, StageFolder
from ..runs.records import RunRecord
from ..train.encode import encode
from ..train.pictures import name_of
from .encoder_check import check_input_size
from .entry import UNTRAINED, runs_alone

Patterns = str | tuple[str, ...]  # patterns of paths, for include= and exclude=
FeaturesAt = Callable[
    [Int64[np.ndarray, " m"]], Float32[Tensor, "m d"]
]  # from the positions of images to their features


@runs_alone
def find_model(model: str | Path) -> Trained:
    """Return the model that MODEL names: a run folder (its final stage), a stage folder, an export as safetensors (its folder or
    its file), "random:RUN" or "random:NAME".

    Raises InputError if the run or stage is not finished, UsageError for what is no path.
    """
    if not isinstance(model, str | os.PathLike):
        raise UsageError(f'a model is the folder of a run or stage, or "random:NAME", not {name_of(model)}')
    text = str(model)
    if text.startswith(UNTRAINED):
        return _untrained(text.removeprefix(UNTRAINED))
    folder = Path(model)
    folder = folder.parent if folder.name == ENCODER and folder.is_file() else folder
    if not RunFolder(folder).is_run:
        return Trained.load(folder)
    final = folder / RunRecord.read(folder).final
    if not StageFolder(final).is_done:
        raise InputError(f"{printable(final)} is not done; resume it with divcon run{_finished_instead(folder)}")
    return Trained.load(final)


def _finished_instead(run: Path) -> str:
    """The words that name a finished training of the run; empty if there is none."""
    encoders = (folder.parent for folder in sorted(run.rglob(ENCODER_SETTINGS)))
    done = next((folder for folder in encoders if StageFolder(folder).is_done), None)
    return f", or name a finished stage: {printable(done)}" if done else ""


def _untrained(name: str) -> Trained:
    """The architecture of a run, or the encoder of that name, with random weights."""
    if RunFolder(Path(name)).is_run:
        trained = Trained.load(_any_finished(Path(name)))
        return untrained(EncoderSpec(trained.spec.name, trained.spec.options, trained.spec.stem), trained.input_spec)
    spec = EncoderSpec(name)
    check_spec(spec)
    return untrained(spec, InputSpec(32 if name in SLIM else default_size(name)))


def _any_finished(run: Path) -> Path:
    settings = next(iter(sorted(run.rglob(ENCODER_SETTINGS))), None)
    if settings is not None:
        return settings.parent
    raise InputError(f"{printable(run)} has no finished stage yet, so its architecture is not known")


def whitening_of(model: Trained, whiten: bool, layer: Layer = "pool") -> Whitening | None:
    """Return the whitening that is asked for; None for another layer than the pool. Log a line if the encoder has none."""
    if not whiten or layer != "pool":
        return None
    if model.whitening is None:
        info("this encoder has no whitening (it is of an older version, or has random weights): its features are raw")
    return model.whitening


def extract_features(
    model: Trained,
    images: Images,
    *,
    layer: Layer = "pool",
    cache: Path,
    cache_gb: Gigabytes = 8.0,
    workers: Workers | None = None,
) -> torch.Tensor:
    """Return the model's raw features of the center view of every image, in the images' order: [N, D], float32."""
    features_at = encoder_of(model, images, layer=layer, cache=cache, cache_gb=cache_gb, workers=workers)
    return features_at(np.arange(len(images)))


def encoder_of(
    model: Trained,
    images: Images,
    *,
    layer: Layer = "pool",
    whitening: Whitening | None = None,
    cache: Path,
    cache_gb: Gigabytes = 8.0,
    workers: Workers | None = None,
) -> FeaturesAt:
    """Return a function from positions to the model's features of the center view of the images there, raw or whitened."""
    chosen = machine.choose(cache, workers=workers)
    with chosen.use():
        check_input_size(model)
    pixels = open_pixels(images, model.input_spec.short_side, cache=cache, cache_gb=cache_gb, workers=chosen.workers)

    def features_at(positions: Int64[np.ndarray, " m"]) -> Float32[Tensor, "m d"]:
        with chosen.use():
            x = encode(model.net, model.input_spec, pixels, chosen, layer=layer, positions=positions)
            return x if whitening is None else whitening(x)

    return features_at


def arithmetic(cache: Path, workers: Workers | None = None, *, threads: bool = True) -> str:
    """Return a text that stands for how this machine computes: with the same text, features have the same bits.

    Without `threads`, the number of compute threads may differ, and with it the last bits.
    """
    chosen = machine.choose(cache, workers=workers)
    kind = f"{chosen.device} {chosen.precision}"
    return f"{kind} {chosen.channels_last} {chosen.compute_threads}" if threads else kind
