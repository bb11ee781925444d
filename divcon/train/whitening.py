"""Fit the whitening of a network's features on the images that it was trained on."""

from collections.abc import Iterator

from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from .. import dist
from ..data.pixels.pixels import Pixels
from ..errors import FaultError
from ..log import part_of, warning
from ..nets.net import Net
from ..nets.trained import InputSpec
from ..nets.whitening import BLOCK, Whitening
from ..runs.stage import StageContext
from .encode import encode

FITTED = 65_536  # images, at most, that a whitening is fitted on


def fit_whitening(
    context: StageContext, net: Net, input_spec: InputSpec, pixels: Pixels, positions: Int64[ndarray, " m"]
) -> Whitening | None:
    """Return the whitening of the pooled features of the center views at some positions; None if they are not finite.

    All ranks call this together; the leader, which saves the network, gets the whitening.
    """

    def blocks() -> Iterator[Float[Tensor, "b d"]]:
        for begin in range(0, len(positions), BLOCK):
            with part_of(begin, len(positions)):
                yield encode(
                    net, input_spec, pixels, context.machine, layer="pool", positions=positions[begin : begin + BLOCK]
                )

    if not dist.is_leader():
        for _ in blocks():  # a rank encodes its share of each block
            pass
        return None
    try:
        return Whitening.fit_blocks(blocks())
    except FaultError as error:
        warning(f"{context.name}: {error}; the encoder is saved without a whitening")
        return None
