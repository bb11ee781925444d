"""Encoders by name: any of timm's, and slim ones of ours for small images and few cores."""

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import nn

from ..artifacts import show
from ..errors import DamagedError, InputError, UsageError
from ..log import warn
from .edges import SeesEdges
from .factors import Factors
from .slim import SlimResNet

SLIM = {"slim10": 16, "slim10_w32": 32, "slim10_w8": 8}  # name: width
FACTORS = "factors"  # what recipe=nmf makes; there is no other way to train it
CHANNELS = {"rgb": 3, "edges": 2}
READING = ("pretrained", "checkpoint", "cache_dir", "num_classes", "hf_")  # beginnings of what timm.create_model takes
SMALL = 48  # pixels: below, a stem that quarters the image leaves too little of it


@dataclass(frozen=True)
class EncoderSpec:
    """How to build an encoder. `init` is "random", "timm" (its own trained weights), or a folder that a stage wrote. With
    `colours="edges"` it is shown how grey changes across and down, and no colours."""

    name: str = "slim10"
    options: dict[str, Any] = field(default_factory=dict)
    stem: Literal["auto", "small", "own"] = "auto"
    init: str = "random"
    colours: Literal["rgb", "edges"] = "rgb"


def build(spec: EncoderSpec, size: int) -> nn.Module:
    """The encoder: images [B, 3, size, size] -> features [B, num_features]. Random weights come from torch's seed."""
    small = spec.stem == "small" or (spec.stem == "auto" and size < SMALL)
    if spec.name == FACTORS:
        return Factors(size, **spec.options)
    if spec.name in SLIM:
        if spec.options:
            raise UsageError(f"encoder.options: {spec.name} has none; there is {spec.options}")
        encoder: nn.Module = SlimResNet(SLIM[spec.name], small_stem=small, channels=CHANNELS[spec.colours])
    else:
        encoder = _from_timm(spec, small)
    if spec.colours == "edges":
        encoder = SeesEdges(encoder)
    if spec.init not in ("random", "timm"):
        load_weights(encoder, Path(spec.init))
    return encoder


def names() -> list[str]:
    """Every encoder that can be asked for."""
    import timm

    return [*SLIM, *timm.list_models()]


def check_name(name: str) -> None:
    if name in SLIM:
        return
    known = names()
    if name not in known:
        near = difflib.get_close_matches(name, known, 3)
        hint = f"did you mean {', '.join(near)}?" if near else "`divcon encoders` lists them"
        raise UsageError(f"encoder={name}: there is no such encoder; {hint}")


def load_weights(encoder: nn.Module, source: Path) -> None:
    """Put in the weights that a stage, or an export, has written: a folder with encoder.safetensors, or such a file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = source / "encoder.safetensors" if source.is_dir() else source
    if not file.is_file():
        raise InputError(f"init={source}: no encoder.safetensors there; name a finished stage's folder, or such a file")
    try:
        found = load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise DamagedError(
            f"init={show(source)} can't be read ({show(str(error))}); weights are kept as safetensors"
        ) from error
    weights = {k.removeprefix("encoder."): v for k, v in found.items() if not k.startswith("projector.")}
    try:
        encoder.load_state_dict(weights)
    except RuntimeError as error:
        raise UsageError(
            f"init={source}: these weights belong to another encoder ({str(error).splitlines()[1].strip()})"
        ) from error


def _from_timm(spec: EncoderSpec, small: bool) -> nn.Module:
    import timm

    check_name(spec.name)
    _check_options(spec)
    try:
        shape: dict[str, Any] = {"num_classes": 0, "in_chans": CHANNELS[spec.colours], **spec.options}
        encoder: nn.Module = timm.create_model(spec.name, pretrained=spec.init == "timm", **shape)
    except MemoryError:
        raise
    except Exception as error:  # a model's code meets these options unchecked, and fails in any way
        if (spec.init == "timm" and not spec.options) or "allocate memory" in str(error):
            raise
        raise UsageError(f"encoder.options: {spec.name} does not take {spec.options} ({show(str(error))})") from error
    encoder.num_features = getattr(encoder, "head_hidden_size", encoder.num_features)  # with VGG and others they differ
    if small and isinstance(encoder, timm.models.resnet.ResNet):
        _shrink_stem(encoder)
        if spec.init == "timm":
            warn(f"init=timm: the small stem of {spec.name} begins at random; base.encoder.stem=own keeps timm's")
    elif spec.stem == "small":
        raise UsageError(f"encoder.stem=small: known for ResNets only, not for {spec.name}; leave it at auto")
    return encoder


def _check_options(spec: EncoderSpec) -> None:
    """Refuse options that make timm read files or fetch URLs: an encoder may come from a stranger."""
    reading = [name for name in spec.options if name.startswith(READING)]
    if reading:
        raise UsageError(f"encoder.options: {show(reading[0])} is not one to set; weights are asked for by init=")


def _shrink_stem(encoder: Any) -> None:
    """A 3x3 convolution that keeps the size, and no pooling, as SimCLR's for CIFAR (appendix B.9)."""
    old = encoder.conv1
    first, last = (old, old) if isinstance(old, nn.Conv2d) else (old[0], old[-1])
    channels_in, channels = first.in_channels, last.out_channels
    encoder.conv1 = nn.Conv2d(channels_in, channels, 3, 1, 1, bias=False)
    nn.init.kaiming_normal_(encoder.conv1.weight, mode="fan_out", nonlinearity="relu")
    encoder.maxpool = nn.Identity()
