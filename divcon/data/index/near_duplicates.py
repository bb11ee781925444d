"""Near-duplicates: images that look alike though their bytes differ, because one was saved again or resized.

`thumbnail` summarizes an image by a small gray copy and the colors of its four quarters. `find_near_duplicates` finds
pairs of similar thumbnails without comparing all pairs: random directions turn each thumbnail into 128 bits, most of
which are equal for similar ones (Charikar 2002). The bits are sorted eight times, each time from another start bit, and
each thumbnail is compared with its neighbors in each order.
"""

import numpy as np
from jaxtyping import Bool, Int16, Int64, UInt8
from numpy.typing import NDArray
from PIL import Image

from ...rng import uniforms
from ..decoding.orientation import RGBArray

GRID = 10
GRAYS = GRID * GRID
THUMBNAIL_BYTES = GRAYS + 12
MEAN_DIFFERENCE, MAX_DIFFERENCE = 2, 12  # of 255: between the grays of two files of one image
MAX_COLOR_DIFFERENCE = 8  # of 255, in any quarter
MAX_ASPECT_DIFFERENCE = 0.03  # relative, of width / height: sizes are rounded when an image shrinks
BITS, ORDERS, NEIGHBORS = 128, 8, 8
MAX_DIFFERENT_BITS = 32  # of pairs whose thumbnails are compared
NOISE = 32  # what noise in a plain image can add up to: it must set no bit
BLOCK = 65_536  # thumbnails, or pairs of them, processed at a time

LUMA = np.array([299, 587, 114], np.int32)

Thumbnails = UInt8[np.ndarray, "n 112"]
Aspects = NDArray[np.float64]
Pairs = Int64[np.ndarray, "m 2"]


def thumbnail(picture: RGBArray) -> bytes:
    """Return the summary of an RGB image [h, w, 3]: 10 x 10 grays, then the mean color of each quarter."""
    small = Image.fromarray(picture).resize((GRID, GRID), Image.Resampling.BOX)
    colors = np.asarray(small).astype(np.int32)
    gray = (colors @ LUMA + 500) // 1000
    half = GRID // 2
    quarters = colors.reshape(2, half, 2, half, 3).mean((1, 3)).round()
    summary: bytes = gray.astype(np.uint8).tobytes() + quarters.astype(np.uint8).tobytes()
    return summary


def find_near_duplicates(thumbnails: Thumbnails, aspects: Aspects) -> Int64[np.ndarray, "n"]:
    """Return for each image the position of its original, or -1 where it has none.

    The original is the first image that looks like this one and has no original itself. `thumbnails` is [n, 112] and
    `aspects` [n] is width / height.
    """
    keys = np.concatenate([thumbnails, np.ascontiguousarray(aspects, np.float64)[:, None].view(np.uint8)], axis=1)
    _, firsts, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    first = firsts[group.ravel()]  # of those with equal keys, of which there may be thousands
    distinct = np.flatnonzero(first == np.arange(len(thumbnails)))
    found = _originals(thumbnails[distinct], aspects[distinct])
    originals = np.full(len(thumbnails), -1, np.int64)
    originals[distinct[found >= 0]] = distinct[found[found >= 0]]
    same = np.flatnonzero(first != np.arange(len(thumbnails)))
    originals[same] = np.where(originals[first[same]] < 0, first[same], originals[first[same]])
    return originals


def _originals(thumbnails: Thumbnails, aspects: Aspects) -> Int64[np.ndarray, "n"]:
    originals = np.full(len(thumbnails), -1, np.int64)
    for first, second in _similar_pairs(thumbnails, aspects):
        if originals[first] < 0 and originals[second] < 0:
            originals[second] = first
    return originals


def _similar_pairs(thumbnails: Thumbnails, aspects: Aspects) -> list[list[int]]:
    """Return pairs that look alike, the smaller position first, sorted by the second and then by the first."""
    bits, found = _random_bits(thumbnails), [np.empty((0, 2), np.int64)]
    for turn in range(0, bits.shape[1], bits.shape[1] // ORDERS):
        words = np.ascontiguousarray(np.roll(bits, -turn, axis=1)).view(">u8")
        order = np.lexsort((words[:, 1], words[:, 0]))
        words = words[order]
        for step in range(1, min(NEIGHBORS + 1, len(thumbnails))):
            different_bits = np.bitwise_count(words[:-step] ^ words[step:]).sum(1)
            near = np.flatnonzero(different_bits <= MAX_DIFFERENT_BITS)
            pairs = np.sort(np.stack([order[near], order[near + step]], 1), axis=1)
            found.append(pairs[_are_similar(thumbnails, aspects, pairs)])
    pairs = np.unique(np.concatenate(found), axis=0)
    ordered: list[list[int]] = pairs[np.lexsort(pairs.T)].tolist()
    return ordered


def _random_bits(thumbnails: Thumbnails) -> UInt8[np.ndarray, "n 16"]:
    """Return the signs of the projections of the centered grays on random directions, as bits."""
    signs = np.where(uniforms(("near",), np.arange(GRAYS), BITS) < 0.5, -1, 1).astype(np.float32)
    bits = np.empty((len(thumbnails), BITS // 8), np.uint8)
    for begin in range(0, len(thumbnails), BLOCK):
        grays = thumbnails[begin : begin + BLOCK, :GRAYS].astype(np.float32)
        # Whole numbers below 2^24, so that float32 adds them without rounding, in any order.
        projections = (GRAYS * grays - grays.sum(1, keepdims=True)) @ signs
        bits[begin : begin + BLOCK] = np.packbits(projections > NOISE * GRAYS, axis=1)
    return bits


def _are_similar(thumbnails: Thumbnails, aspects: Aspects, pairs: Pairs) -> Bool[np.ndarray, "m"]:
    one, other = aspects[pairs[:, 0]], aspects[pairs[:, 1]]
    similar: NDArray[np.bool_] = np.abs(one - other) <= MAX_ASPECT_DIFFERENCE * np.minimum(one, other)
    for begin in range(0, len(pairs), BLOCK):
        block = slice(begin, begin + BLOCK)
        difference = np.abs(_as_int16(thumbnails[pairs[block, 0]]) - thumbnails[pairs[block, 1]])
        grays, colors = difference[:, :GRAYS], difference[:, GRAYS:]
        similar[block] &= (grays.mean(1) <= MEAN_DIFFERENCE) & (grays.max(1) <= MAX_DIFFERENCE)
        similar[block] &= colors.max(1) <= MAX_COLOR_DIFFERENCE
    return similar


def _as_int16(thumbnails: Thumbnails) -> Int16[np.ndarray, "n 112"]:
    return thumbnails.astype(np.int16)
