"""Activation recomputation: the blocks of an encoder run again in the backward pass, which takes less memory."""

from functools import partial
from typing import Any

from torch import nn

from ..errors import UsageError


def recomputing(encoder: nn.Module, name: str) -> nn.Module:
    """Let a timm encoder recompute its blocks in the backward pass, without a second update of batch-norm statistics.

    Returns the encoder. Raises UsageError if it can't recompute; `name` is its name for the message.
    """
    try:
        model: Any = encoder  # torch does not know the methods of timm
        model.set_grad_checkpointing(True)
    except (AttributeError, AssertionError) as error:
        raise UsageError(
            f"recompute=true: {name} can't recompute its blocks; models of timm can, like regnety_002"
        ) from error
    calls = _ForwardCalls()
    encoder.register_forward_pre_hook(calls.begin)
    encoder.register_forward_hook(calls.end, always_call=True)
    for module in encoder.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.register_forward_pre_hook(partial(calls.set_momentum, momentum=module.momentum))
    return encoder


class _ForwardCalls:
    """Tells the calls of the encoder itself from the recomputation of its blocks in a backward pass."""

    def __init__(self) -> None:
        self.in_forward = False

    def begin(self, encoder: nn.Module, inputs: object) -> None:
        self.in_forward = True

    def end(self, encoder: nn.Module, inputs: object, output: object) -> None:
        self.in_forward = False

    def set_momentum(self, norm: nn.modules.batchnorm._BatchNorm, inputs: object, *, momentum: float | None) -> None:
        """Let the running statistics change in the forward pass only."""
        norm.momentum = momentum if self.in_forward else 0.0
        if not self.in_forward and norm.num_batches_tracked is not None:
            norm.num_batches_tracked -= 1  # the norm is about to add 1
