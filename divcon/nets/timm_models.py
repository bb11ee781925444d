"""Networks of timm's by name, built for the size of the images that they will be shown."""

import difflib
from typing import Any

import torch
from torch import nn

from ..errors import InputError, UsageError
from ..files.text import printable
from ..log import warning

READING = ("pretrained", "checkpoint", "cache_dir", "num_classes", "hf_")  # beginnings of what timm.create_model takes
USUAL = 224  # pixels
SHOWN = 3  # names in a message
LETTERS = 300  # of what timm says


def check_name(name: str, ours: list[str]) -> None:
    """UsageError, unless timm has a network of this name. Behind a dot may stand which of its weights are meant."""
    import timm

    network, dot, weights = name.partition(".")
    known = [*ours, *timm.list_models()]
    if network not in known:
        near = difflib.get_close_matches(network, known, SHOWN)
        hint = f"did you mean {', '.join(near)}?" if near else "`divcon encoders` lists them"
        raise UsageError(f"encoder={name}: there is no such encoder; {hint}")
    if dot and name not in timm.list_pretrained(f"{network}.*"):
        there = [known.partition(".")[2] for known in timm.list_pretrained(f"{network}.*")]
        named = f"among its weights are {', '.join(there[:SHOWN])}" if there else "timm has no weights of it"
        raise UsageError(f"encoder={name}: {network} has no weights {weights!r}; {named}")


def check_weights(name: str, init: str) -> None:
    """UsageError, if weights of timm's are named and not asked for, or asked for and not there."""
    import timm

    network, dot, _ = name.partition(".")
    if dot and init != "timm":
        raise UsageError(
            f"encoder={name} names trained weights, but init={init} does not begin with them: type init=timm, or "
            f"encoder={network}"
        )
    if init == "timm" and not timm.list_pretrained(name if dot else f"{network}.*"):
        raise UsageError(f"init=timm: timm has no trained weights of {name}; init=random begins without them")


def check_options(options: dict[str, Any]) -> None:
    """Refuse options that make timm read files or fetch URLs: an encoder may come from a stranger."""
    reading = [option for option in options if option.startswith(READING)]
    if reading:
        raise UsageError(f"encoder.options: {printable(reading[0])} is not one to set; weights are asked for by init=")


def created(name: str, options: dict[str, Any], *, size: int, channels: int, pretrained: bool) -> nn.Module:
    """The network without its classifier. One that is made for a single size, as most with windows or learned positions are,
    is made for this size; and so that it takes other sizes too, where its family can."""
    import timm

    *ways, last = _ways(name, size)
    given: dict[str, Any] = {"pretrained": pretrained, "num_classes": 0, "in_chans": channels}
    begin = torch.get_rng_state()
    for way in ways:
        try:
            return _counted(timm.create_model(name, **{**given, **way, **options}))
        except TypeError as error:
            if not any(option in str(error) for option in way):
                raise
            torch.set_rng_state(begin)
    return _counted(timm.create_model(name, **{**given, **last, **options}))


def _ways(name: str, size: int) -> list[dict[str, Any]]:
    """What to say to timm about the size, the most first."""
    from timm.models import get_pretrained_cfg

    about = get_pretrained_cfg(name)
    if about is None or not about.fixed_input_size:
        return [{}]
    return [{"img_size": size, "dynamic_img_size": True}, {"img_size": size}]


def designed_size(name: str) -> int:
    """Pixels of the images that a network was designed for."""
    from timm.models import get_pretrained_cfg

    about = get_pretrained_cfg(name)
    return int(about.input_size[-1]) if about is not None else USUAL


def untyped_size(name: str) -> int:
    """The size for a network of which nothing more is known: its own where it takes no other."""
    from timm.models import get_pretrained_cfg

    about = get_pretrained_cfg(name)
    return designed_size(name) if about is not None and about.fixed_input_size else USUAL


def _counted(encoder: Any) -> nn.Module:
    """With the number of its features under one name: with VGG and others timm has two."""
    encoder.num_features = getattr(encoder, "head_hidden_size", encoder.num_features)
    network: nn.Module = encoder
    return network


def refused(name: str, options: dict[str, Any], error: Exception, *, pretrained: bool) -> Exception:
    """What to raise when timm did not build a network: its code meets sizes and options unchecked, and fails in any way."""
    why = f"({type(error).__name__}: {printable(str(error)[:LETTERS])})"
    if "allocate memory" in str(error):
        return error
    if options and not isinstance(error, OSError):
        return UsageError(f"encoder.options: {name} does not take {options} {why}")
    if pretrained:
        return InputError(f"init=timm: the weights of {name} could not be had {why}; init=random begins without them")
    return UsageError(f"encoder={name} can't be built {why}")


def small_stem(encoder: Any, name: str, *, asked: bool, pretrained: bool) -> None:
    """In a ResNet, a 3x3 convolution that keeps the size, and no pooling, as SimCLR's for CIFAR (appendix B.9)."""
    if not _is_resnet(encoder):
        if asked:
            raise UsageError(f"encoder.stem=small: known for ResNets only, not for {name}; leave it at auto")
        return
    old = encoder.conv1
    first, last = (old, old) if isinstance(old, nn.Conv2d) else (old[0], old[-1])
    channels_in, channels = first.in_channels, last.out_channels
    encoder.conv1 = nn.Conv2d(channels_in, channels, 3, 1, 1, bias=False)
    nn.init.kaiming_normal_(encoder.conv1.weight, mode="fan_out", nonlinearity="relu")
    encoder.maxpool = nn.Identity()
    if pretrained:
        warning(f"init=timm: the small stem of {name} begins at random; base.encoder.stem=own keeps timm's")


def _is_resnet(encoder: nn.Module) -> bool:
    import timm

    return isinstance(encoder, timm.models.resnet.ResNet)
