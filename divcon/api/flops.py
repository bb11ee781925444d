"""Count the FLOPs of a training or of features for an image, on noise; a multiplication and an addition are two.

They are those of the network as it is written, by torch's FlopCounterMode. The optimizer is not counted, and neither is the second
forward pass of `recompute`.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..machine import Machine
from ..methods.contract import Method, Step
from ..nets.encoder import build
from ..nets.net import Layer, Net
from ..stages.learning import MakeMethod, NetworkTraining
from .trial_step import noise_batch

BATCH = 8  # images of the step that is counted
PLAIN = Machine(fast_small_maps=False)


def step_flops(recipe: NetworkTraining, build_method: MakeMethod) -> float:
    """Return the FLOPs of an image in a step of a training: forward and backward of all its views, those of momentum networks
    and teachers, and what follows the step."""
    recipe = replace(recipe, batch_size=BATCH, recompute=False)
    with PLAIN.use():
        method = build_method(random_encoder(recipe)).train()
        batch, at = noise_batch(recipe, method, PLAIN), Step(0, 1, 0)
        with FlopCounterMode(display=False) as counter:
            outcome = method(batch, at)
            torch.autograd.backward(outcome.loss)
            method.after_step(outcome.update, at)
    return float(counter.get_total_flops()) / BATCH


def forward_flops(net: Net, size: int, layer: Layer = "pool") -> float:
    """Return the FLOPs of the features of one image."""
    with PLAIN.use(), torch.no_grad(), FlopCounterMode(display=False) as counter:
        net.eval()(torch.zeros(1, 3, size, size), layer)
    return float(counter.get_total_flops())


def encode_passes(recipe: NetworkTraining, build_method: MakeMethod, epochs: float) -> float:
    """Return how often a method encodes its collection in so many epochs: never, before the first one, or before each."""
    with PLAIN.use():
        method = build_method(random_encoder(recipe))
        first, later = (_encodes(method, Step(step, 2, step)) for step in (0, 1))
    return max(1.0, epochs) if first and later else float(first)


def random_encoder(recipe: NetworkTraining) -> nn.Module:
    """Return the encoder of a recipe with random weights; the recipe may ask for a download of others."""
    return build(replace(recipe.encoder, init="random"), recipe.input_spec.size)


class _EncodesError(Exception):
    """Raised where a method would encode the whole collection."""


def _encodes(method: Method, at: Step) -> bool:
    def encode(layer: Layer) -> Float[Tensor, "n d"]:
        raise _EncodesError

    try:
        method.before_epoch(encode, at)
    except _EncodesError:
        return True
    except Exception:  # the rows of an empty memory bank can't be clustered: it has not encoded before that
        return False
    return False
