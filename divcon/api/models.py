"""Find a model by its name, and compute the features of images with it."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64
from torch import Tensor

from .. import machine
from ..config import Gigabytes, Workers
from ..data.images import Images
from ..data.pixels.pixel_cache import open_pixels
from ..data.pixels.pixels import Pixels
from ..errors import InputError, UsageError
from ..files.text import printable
from ..nets.encoder import SLIM, EncoderSpec, check_spec
from ..nets.net import Layer
from ..nets.timm_models import default_size
from ..nets.trained import InputSpec, Trained, untrained
from ..runs.folder import ENCODER, ENCODER_SETTINGS, RunFolder, StageFolder
from ..runs.records import RunRecord
from ..train.encode import encode
from ..train.pictures import name_of
from .encoder_check import check_input_size
from .entry import UNTRAINED, runs_alone

Patterns = str | tuple[str, ...]  # patterns of paths, for include= and exclude=


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


@dataclass(frozen=True)
class ImageEncoder:
    """A model that encodes the center views of some images: from positions to features, in float32."""

    model: Trained
    pixels: Pixels
    machine: machine.Machine
    layer: Layer

    def __call__(self, positions: Int64[np.ndarray, " m"]) -> Float32[Tensor, "m d"]:
        net, input_spec = self.model.net, self.model.input_spec
        with self.machine.use():
            return encode(net, input_spec, self.pixels, self.machine, layer=self.layer, positions=positions)

    def all(self) -> Float32[Tensor, "n d"]:
        """Return the features of all images, in their order."""
        return self(np.arange(len(self.pixels)))


def encoder_of(
    model: Trained,
    images: Images,
    *,
    layer: Layer = "pool",
    cache: Path,
    cache_gb: Gigabytes = 8.0,
    workers: Workers | None = None,
) -> ImageEncoder:
    """Return what encodes images by a model, once it has opened their pixels."""
    chosen = machine.choose(cache, workers=workers)
    with chosen.use():
        check_input_size(model)
    pixels = open_pixels(images, model.input_spec.short_side, cache=cache, cache_gb=cache_gb, workers=chosen.workers)
    return ImageEncoder(model, pixels, chosen, layer)


def arithmetic(cache: Path, workers: Workers | None = None, *, threads: bool = True) -> str:
    """Return a text that stands for how this machine computes: with the same text, features have the same bits.

    Without `threads`, the number of compute threads may differ, and with it the last bits.
    """
    chosen = machine.choose(cache, workers=workers)
    kind = f"{chosen.device} {chosen.precision}"
    return f"{kind} {chosen.channels_last} {chosen.compute_threads}" if threads else kind
