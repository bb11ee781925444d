"""Less memory for more time: what an encoder's blocks made is thrown away, and made again for the gradient."""

from functools import partial
from typing import Any

from torch import nn

from ..errors import UsageError


def recomputing(encoder: nn.Module, name: str) -> nn.Module:
    """The encoder of timm's, its blocks done a second time for the gradient; that time leaves no trace in batch norms."""
    try:
        timms: Any = encoder
        timms.set_grad_checkpointing(True)
    except (AttributeError, AssertionError) as error:
        raise UsageError(
            f"recompute=true: {name} can't do its blocks again; it is for timm's, like regnety_002"
        ) from error
    first = _First()
    encoder.register_forward_pre_hook(first.begins)
    encoder.register_forward_hook(first.ends, always_call=True)
    for module in encoder.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.register_forward_pre_hook(partial(first.tells, momentum=module.momentum))
    return encoder


class _First:
    """Whether the encoder itself is being called, or its blocks once more by a backward pass."""

    def __init__(self) -> None:
        self.time = False

    def begins(self, encoder: nn.Module, given: Any) -> None:
        self.time = True

    def ends(self, encoder: nn.Module, given: Any, seen: Any) -> None:
        self.time = False

    def tells(self, norm: Any, given: Any, *, momentum: float | None) -> None:
        """Running statistics follow the first time only."""
        norm.momentum = momentum if self.time else 0.0
        if not self.time:
            norm.num_batches_tracked -= 1  # the norm is about to count
