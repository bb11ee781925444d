"""Encoders by name: any of timm's, and slim ones of ours for small images and few cores."""

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

SLIM = {"slim10": 16, "slim10_w32": 32, "slim10_w8": 8}  # name: width
FACTORS = "factors"  # what recipe=nmf makes; there is no other way to train it
CHANNELS = {"rgb": 3, "edges": 2}
SMALL = 48  # pixels: below, a stem that quarters the image leaves too little of it


@dataclass(frozen=True)
class EncoderSpec:
    """How to build an encoder. `init` is "random", "timm" (its own trained weights), or a folder that a stage wrote. With
    `colors="edges"` it is shown how gray changes across and down, and no colors."""

    name: str = "slim10"
    options: dict[str, Any] = field(default_factory=dict)
    stem: Literal["auto", "small", "own"] = "auto"
    init: str = "random"
    colors: Literal["rgb", "edges"] = "rgb"


def build(spec: EncoderSpec, size: int) -> nn.Module:
    """The encoder: images [B, 3, size, size] -> features [B, num_features]. Random weights come from torch's seed."""
    small = spec.stem == "small" or (spec.stem == "auto" and size < SMALL)
    if spec.name == FACTORS:
        return Factors(size, **spec.options)
    if spec.name in SLIM:
        if spec.options:
            raise UsageError(f"encoder.options: {spec.name} has none; there is {spec.options}")
        encoder: nn.Module = SlimResNet(SLIM[spec.name], small_stem=small, channels=CHANNELS[spec.colors])
    else:
        encoder = _from_timm(spec, small, size)
    if spec.colors == "edges":
        encoder = SobelFilter(encoder)
    if spec.init not in ("random", "timm"):
        load_weights(encoder, Path(spec.init))
    return encoder


def names() -> list[str]:
    """Every encoder that can be asked for."""
    import timm

    return [*SLIM, *timm.list_models()]


def check_name(name: str) -> None:
    if name not in SLIM:
        timm_models.check_name(name, list(SLIM))


def check_spec(spec: EncoderSpec) -> None:
    """Refuse a name that is not there, and trained weights that are not there."""
    if spec.name in SLIM and spec.init == "timm":
        raise UsageError(f"init=timm: {spec.name} is not one of timm's; init=random begins without trained weights")
    if spec.name != FACTORS and spec.name not in SLIM:
        check_name(spec.name)
        timm_models.check_weights(spec.name, spec.init)


def load_weights(encoder: nn.Module, source: Path) -> None:
    """Put in the weights that a stage, or an export, has written: a folder with encoder.safetensors, or such a file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = source / ENCODER if source.is_dir() else source
    if not file.is_file():
        raise InputError(f"init={source}: no encoder.safetensors there; name a finished stage's folder, or such a file")
    try:
        found = load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise DamagedError(
            f"init={printable(source)} can't be read ({printable(str(error))}); weights are kept as safetensors"
        ) from error
    weights = {k.removeprefix("encoder."): v for k, v in found.items() if not k.startswith("projector.")}
    try:
        encoder.load_state_dict(weights)
    except RuntimeError as error:
        raise UsageError(
            f"init={source}: these weights belong to another encoder, or to one for images of another size ({str(error).splitlines()[1].strip()})"
        ) from error


def _from_timm(spec: EncoderSpec, small: bool, size: int) -> nn.Module:
    check_name(spec.name)
    timm_models.check_options(spec.options)
    pretrained = spec.init == "timm"
    try:
        encoder = timm_models.created(
            spec.name, spec.options, size=size, channels=CHANNELS[spec.colors], pretrained=pretrained
        )
    except MemoryError:
        raise
    except Exception as error:
        raise timm_models.refused(spec.name, spec.options, error, pretrained=pretrained) from error
    if small:
        timm_models.small_stem(encoder, spec.name, asked=spec.stem == "small", pretrained=pretrained)
    return encoder
