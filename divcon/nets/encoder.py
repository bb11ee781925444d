"""Encoders by name: all models of timm, and slim ResNets for small images and few cores."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import nn

from ..errors import DamagedError, InputError, UsageError
from ..files.text import printable
from ..runs.folder import ENCODER
from . import timm_models
from .factors import Factors
from .slim import SlimResNet
from .sobel import SobelFilter

SLIM = {"slim10": 16, "slim10_w32": 32, "slim10_w8": 8}  # width by name
FACTORS = "factors"  # the encoder of recipe=nmf; only that recipe can train it
CHANNELS = {"rgb": 3, "edges": 2}  # by the option `colors`
SMALL_SIZE = 48  # pixels: smaller images need a stem that does not shrink them to a quarter


@dataclass(frozen=True)
class EncoderSpec:
    """The name and the options of an encoder.

    `options` are those of timm's model. `stem` is "small" for a stem that keeps the image's size, "own" for the model's
    own one, and "auto" to choose by the image's size. `init` is "random", "timm" (timm's trained weights), or the path
    of a stage's folder. With `colors="edges"` the encoder gets the horizontal and vertical edges instead of the colors.
    """

    name: str = "slim10"
    options: dict[str, Any] = field(default_factory=dict)
    stem: Literal["auto", "small", "own"] = "auto"
    init: str = "random"
    colors: Literal["rgb", "edges"] = "rgb"


def build(spec: EncoderSpec, size: int) -> nn.Module:
    """Return the encoder: images [B, 3, size, size] -> features [B, num_features].

    torch's seed decides the random weights. Raises UsageError for options that
    the encoder does not take, InputError for weights that can't be read.
    """
    small = wants_small_stem(spec, size)
    if spec.name == FACTORS:
        return Factors(size, **spec.options)
    if spec.name in SLIM:
        if spec.options:
            raise UsageError(f"encoder.options: {spec.name} has none; {spec.options} can't be set")
        encoder: nn.Module = SlimResNet(SLIM[spec.name], small_stem=small, channels=CHANNELS[spec.colors])
    else:
        encoder = _from_timm(spec, small, size)
    if spec.colors == "edges":
        encoder = SobelFilter(encoder)
    if spec.init not in ("random", "timm"):
        load_weights(encoder, Path(spec.init))
    return encoder


def wants_small_stem(spec: EncoderSpec, size: int) -> bool:
    """Return True if the stem keeps the size of images of `size` pixels; of timm's networks, ResNets can have such a stem."""
    return spec.stem == "small" or (spec.stem == "auto" and size < SMALL_SIZE)


def names() -> list[str]:
    """Return the names of all encoders."""
    import timm

    return [*SLIM, *timm.list_models()]


def check_name(name: str) -> None:
    """Raise UsageError unless there is an encoder of this name."""
    if name not in SLIM:
        timm_models.check_name(name, list(SLIM))


def check_spec(spec: EncoderSpec) -> None:
    """Raise UsageError unless the named encoder and the named weights exist."""
    if spec.name in SLIM and spec.init == "timm":
        raise UsageError(
            f"init=timm: {spec.name} is not a model of timm; type init=random to begin without trained weights"
        )
    if spec.name != FACTORS and spec.name not in SLIM:
        check_name(spec.name)
        timm_models.check_weights(spec.name, spec.init)


def load_weights(encoder: nn.Module, source: Path) -> None:
    """Load the weights that a stage or an export has written.

    `source` is a folder with encoder.safetensors, or such a file. Raises InputError if it is missing, DamagedError if it
    can't be read, UsageError if its weights are those of another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = source / ENCODER if source.is_dir() else source
    if not file.is_file():
        raise InputError(f"init={source}: no encoder.safetensors there; name a finished stage's folder, or such a file")
    try:
        found = load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise DamagedError(
            f"init={printable(source)} can't be read ({printable(str(error))}); give a safetensors file"
        ) from error
    weights = {k.removeprefix("encoder."): v for k, v in found.items() if not k.startswith("projector.")}
    try:
        encoder.load_state_dict(weights)
    except RuntimeError as error:
        raise UsageError(
            f"init={source}: these weights belong to another encoder, or to one for images of another size "
            f"({str(error).splitlines()[1].strip()})"
        ) from error


def _from_timm(spec: EncoderSpec, small: bool, size: int) -> nn.Module:
    check_name(spec.name)
    timm_models.check_options(spec.options)
    pretrained = spec.init == "timm"
    try:
        encoder = timm_models.create(spec.name, spec.options, size, CHANNELS[spec.colors], pretrained=pretrained)
    except MemoryError:
        raise
    except Exception as error:
        raise timm_models.creation_error(spec.name, spec.options, error, pretrained=pretrained) from error
    if small:
        timm_models.replace_stem(encoder, spec.name, required=spec.stem == "small", pretrained=pretrained)
    return encoder
