"""The pixels of views, in one compiled call without the GIL: crop, flip, jitter, gray, blur, solarize.

A view is made in three planes of float32 in [0, 1], planes[channel, row * size + column], and becomes bytes in the last
step. Sums of floats have a written order, so the bits depend on no vector width.
"""

import math

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64, UInt8

from .blur import blur
from .color import color, to_bytes, to_gray, to_solar
from .compiling import ZERO, aligned, compiled
from .crop import bicubic, crop, room_for, weights_for

__all__ = ["compiled", "render_chunk"]

# The scale from the bytes of an image to the numbers of a view.
UNIT = 1 / 255


@compiled
def render_chunk(
    flat: UInt8[np.ndarray, "bytes"],
    starts: Int64[np.ndarray, "b"],
    heights: Int32[np.ndarray, "b"],
    widths: Int32[np.ndarray, "b"],
    box: Float64[np.ndarray, "b 4"],
    flip: Bool[np.ndarray, "b"],
    jitter: Bool[np.ndarray, "b"],
    order: UInt8[np.ndarray, "b 4"],
    factors: Float32[np.ndarray, "b 4"],
    gray: Bool[np.ndarray, "b"],
    sigma: Float32[np.ndarray, "b"],
    solarize: Bool[np.ndarray, "b"],
    additive: bool,
    taps: int,
    out: UInt8[np.ndarray, "b size size 3"],
) -> None:
    """Fill `out` with the views of the images that begin at `starts` in `flat`."""
    size = out.shape[1]
    planes = aligned(3 * size * size).reshape(3, size * size)
    padded, halfway = np.empty((size + taps + 1) ** 2, np.int16), np.empty((size + taps + 1) ** 2, np.int16)
    widest = math.ceil(4 * max(1.0, np.max(box[:, 2:]) / size)) + 1
    down, across = weights_for(size, widest), weights_for(size, widest)
    room = room_for(size, widest, np.max(widths))
    for i in range(len(out)):
        top, left, tall, wide = box[i]
        bicubic(top, tall, heights[i], False, UNIT, down)
        bicubic(left, wide, widths[i], flip[i], 1.0, across)
        crop(flat, starts[i], widths[i], down, across, room, planes)
        if jitter[i]:
            color(planes, order[i], factors[i], additive)
        if gray[i]:
            to_gray(planes)
        if sigma[i] > ZERO:
            blur(planes, sigma[i], taps // 2, not additive, padded, halfway)
        if solarize[i]:
            to_solar(planes)
        to_bytes(planes, out[i])
