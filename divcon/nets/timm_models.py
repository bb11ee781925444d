"""Networks of timm by name, built for the size of their images."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ..errors import InputError, UsageError
from ..files.text import printable
from ..log import warning

FILE_OPTIONS = ("pretrained", "checkpoint", "cache_dir", "num_classes", "hf_")  # prefixes of options that read files
DEFAULT_SIZE = 224  # pixels
SUGGESTIONS = 3  # names in an error message, at most
MESSAGE_LENGTH = 300  # characters of timm's own error message


def check_name(name: str, ours: Sequence[str]) -> None:
    """Raise UsageError unless timm has a network of this name, with the weights that are named behind a dot, if any.

    `ours` are the names of the encoders that are not timm's, for the suggestions in the message.
    """
    import timm

    network, dot, weights = name.partition(".")
    known = [*ours, *timm.list_models()]
    if network not in known:
        near = difflib.get_close_matches(network, known, SUGGESTIONS)
        hint = f"did you mean {', '.join(near)}?" if near else "`divcon encoders` lists them"
        raise UsageError(f"encoder={name}: there is no such encoder; {hint}")
    if dot and name not in timm.list_pretrained(f"{network}.*"):
        tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{network}.*")]
        hint = f"among its weights are {', '.join(tags[:SUGGESTIONS])}" if tags else "timm has no weights of it"
        raise UsageError(f"encoder={name}: {network} has no weights {weights!r}; {hint}")


def check_weights(name: str, init: str) -> None:
    """Raise UsageError if timm's weights are named but not asked for by `init`, or asked for and missing."""
    import timm

    network, dot, _ = name.partition(".")
    if dot and init != "timm":
        raise UsageError(
            f"encoder={name} names trained weights, but init={init} does not begin with them: type init=timm, or "
            f"encoder={network}"
        )
    if init == "timm" and not timm.list_pretrained(name if dot else f"{network}.*"):
        raise UsageError(f"init=timm: timm has no trained weights of {name}; init=random begins without them")


def check_options(options: Mapping[str, object]) -> None:
    """Raise UsageError for an option that makes timm read files or fetch URLs: an encoder may come from a stranger."""
    refused = [option for option in options if option.startswith(FILE_OPTIONS)]
    if refused:
        raise UsageError(f"encoder.options: {printable(refused[0])} can't be set; init= asks for weights")


def create(name: str, options: Mapping[str, object], size: int, channels: int, *, pretrained: bool) -> nn.Module:
    """Return the network without its classifier, for images [B, channels, size, size].

    A network of a fixed image size (as most with windows or learned positions) is built for `size`, and for other sizes
    too if its family can.
    """
    encoder, _ = _create_for_size(name, options, size, channels, pretrained=pretrained)
    return encoder


def model_args(name: str, options: Mapping[str, object], size: int) -> dict[str, object]:
    """Return the arguments, besides the number of classes, with which `timm.create_model` builds the network of `create`."""
    _, args = _create_for_size(name, options, size, 3, pretrained=False)
    return args


def _create_for_size(
    name: str, options: Mapping[str, object], size: int, channels: int, *, pretrained: bool
) -> tuple[nn.Module, dict[str, object]]:
    """Return the network, and the arguments about its size and its options that its family has taken."""
    *optional, last = _size_options(name, size)
    common = {"pretrained": pretrained, "num_classes": 0, "in_chans": channels}
    state = torch.get_rng_state()
    for size_options in optional:
        args = {**size_options, **options}
        try:
            return _create(name, {**common, **args}), args
        except TypeError as error:
            if not any(option in str(error) for option in size_options):
                raise
            torch.set_rng_state(state)
    args = {**last, **options}
    return _create(name, {**common, **args}), args


def _create(name: str, options: Mapping[str, object]) -> nn.Module:
    import timm

    untyped: dict[str, Any] = dict(options)
    encoder = timm.create_model(name, **untyped)
    # num_features of VGG and others counts the features before a last layer; the output has head_hidden_size
    encoder.num_features = getattr(encoder, "head_hidden_size", encoder.num_features)
    return encoder


def _size_options(name: str, size: int) -> list[dict[str, object]]:
    """Return the options to try for the size, the best first; every network takes the last ones."""
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(name)
    if config is None or not config.fixed_input_size:
        return [{}]
    return [{"img_size": size, "dynamic_img_size": True}, {"img_size": size}]


def designed_size(name: str) -> int:
    """Return the size in pixels of the images that a network was designed for."""
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(name)
    return int(config.input_size[-1]) if config is not None else DEFAULT_SIZE


def default_size(name: str) -> int:
    """Return the size in pixels to use if no other is known: 224, or the only size that the network takes."""
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(name)
    return designed_size(name) if config is not None and config.fixed_input_size else DEFAULT_SIZE


def creation_error(name: str, options: Mapping[str, object], error: Exception, *, pretrained: bool) -> Exception:
    """Return the error to raise after timm failed to build a network.

    timm does not check sizes and options, and fails with any exception.
    """
    why = f"({type(error).__name__}: {printable(str(error)[:MESSAGE_LENGTH])})"
    if "allocate memory" in str(error):
        return error
    if options and not isinstance(error, OSError):
        return UsageError(f"encoder.options: {name} does not take {options} {why}")
    if pretrained:
        return InputError(f"init=timm: the weights of {name} could not be had {why}; init=random begins without them")
    return UsageError(f"encoder={name} can't be built {why}")


def replace_stem(encoder: nn.Module, name: str, *, required: bool, pretrained: bool) -> None:
    """Give a ResNet a 3x3 stem that keeps the image's size, without pooling, as SimCLR does for CIFAR (appendix B.9).

    Other networks keep their stem; if the small one is `required`, they raise UsageError.
    """
    if not is_resnet(encoder):
        if required:
            raise UsageError(f"encoder.stem=small: known for ResNets only, not for {name}; leave it at auto")
        return
    resnet: Any = encoder
    old = resnet.conv1
    first, last = (old, old) if isinstance(old, nn.Conv2d) else (old[0], old[-1])
    resnet.conv1 = nn.Conv2d(first.in_channels, last.out_channels, 3, 1, 1, bias=False)
    nn.init.kaiming_normal_(resnet.conv1.weight, mode="fan_out", nonlinearity="relu")
    resnet.maxpool = nn.Identity()
    if pretrained:
        warning(f"init=timm: the small stem of {name} begins at random; base.encoder.stem=own keeps timm's")


def is_resnet(encoder: nn.Module) -> bool:
    """Return True for a network of timm's class ResNet."""
    import timm

    return isinstance(encoder, timm.models.resnet.ResNet)
