"""Pictures that look alike though their bytes differ: saved again, resized, or with other notes in the file.

`looks` keeps a small gray copy of a picture, and the colors of its four quarters. `twins` finds pairs of such without
comparing all with all: directions drawn at random turn each into 128 bits, most of which near ones share (Charikar 2002);
these are sorted eight times, each time beginning at another part of them, and each picture is compared with its next.
"""

import numpy as np
from jaxtyping import Bool, Int16, Int64, UInt8
from numpy.typing import NDArray
from PIL import Image

from ...rng import uniforms
from ..decoding.orientation import RGBArray

GRID = 10
GRAYS = GRID * GRID
LOOKS = GRAYS + 12  # bytes of a summary
ON_AVERAGE, AT_MOST = 2, 12  # of 255: how far two savings of one picture are apart
COLORS = 8  # of 255, in any quarter
SHAPE = 0.03  # by which width / height may differ: sizes are rounded when a picture shrinks
BITS, ORDERS, NEXT = 128, 8, 8
FEW = 32  # bits in which pictures may differ that are worth a look
PLAIN = 32  # what noise in a plain picture adds up to, so that it changes no bit
BLOCK = 65_536  # summaries, or pairs of them, in work at a time

LUMA = np.array([299, 587, 114], np.int32)

Looks = UInt8[np.ndarray, "n 112"]
Shapes = NDArray[np.float64]


def thumbnails(picture: RGBArray) -> bytes:
    """What a picture looks like from afar."""
    small = Image.fromarray(picture).resize((GRID, GRID), Image.Resampling.BOX)
    colors = np.asarray(small).astype(np.int32)
    gray = (colors @ LUMA + 500) // 1000
    half = GRID // 2
    quarters = colors.reshape(2, half, 2, half, 3).mean((1, 3)).round()
    summary: bytes = gray.astype(np.uint8).tobytes() + quarters.astype(np.uint8).tobytes()
    return summary


def find_near_duplicates(sums: Looks, shapes: Shapes) -> Int64[np.ndarray, "n"]:
    """For each picture the first that it looks like and that looks like none before it; -1 where there is none.

    `shapes` is width / height of each.
    """
    keys = np.concatenate([sums, np.ascontiguousarray(shapes, np.float64)[:, None].view(np.uint8)], axis=1)
    _, firsts, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    first = firsts[group.ravel()]  # of those that look just the same, of which there may be thousands
    different = np.flatnonzero(first == np.arange(len(sums)))
    found, of = _twins(sums[different], shapes[different]), np.full(len(sums), -1, np.int64)
    of[different[found >= 0]] = different[found[found >= 0]]
    same = np.flatnonzero(first != np.arange(len(sums)))
    of[same] = np.where(of[first[same]] < 0, first[same], of[first[same]])
    return of


def _twins(sums: Looks, shapes: Shapes) -> Int64[np.ndarray, "n"]:
    of = np.full(len(sums), -1, np.int64)
    for first, second in _pairs(sums, shapes):
        if of[first] < 0 and of[second] < 0:
            of[second] = first
    return of


def _pairs(sums: Looks, shapes: Shapes) -> list[list[int]]:
    """Pairs that look alike, the smaller position first, in the order of the second and then of the first."""
    bits, found = _bits(sums), [np.empty((0, 2), np.int64)]
    for turn in range(0, bits.shape[1], bits.shape[1] // ORDERS):
        words = np.ascontiguousarray(np.roll(bits, -turn, axis=1)).view(">u8")
        order = np.lexsort((words[:, 1], words[:, 0]))
        words = words[order]
        for step in range(1, min(NEXT + 1, len(sums))):
            near = np.flatnonzero(np.bitwise_count(words[:-step] ^ words[step:]).sum(1) <= FEW)
            pairs = np.sort(np.stack([order[near], order[near + step]], 1), axis=1)
            found.append(pairs[_alike(sums, shapes, pairs)])
    pairs = np.unique(np.concatenate(found), axis=0)
    ordered: list[list[int]] = pairs[np.lexsort(pairs.T)].tolist()
    return ordered


def _bits(sums: Looks) -> UInt8[np.ndarray, "n 16"]:
    """On which side of each direction a picture's grays lie, as they differ from their mean."""
    signs = np.where(uniforms(("near",), np.arange(GRAYS), BITS) < 0.5, -1, 1).astype(np.float32)
    bits = np.empty((len(sums), BITS // 8), np.uint8)
    for at in range(0, len(sums), BLOCK):
        grays = sums[at : at + BLOCK, :GRAYS].astype(np.float32)
        # Whole numbers below 2^24, so that float32 adds them up without rounding, in whatever order.
        bits[at : at + BLOCK] = np.packbits(
            (GRAYS * grays - grays.sum(1, keepdims=True)) @ signs > PLAIN * GRAYS, axis=1
        )
    return bits


def _alike(sums: Looks, shapes: Shapes, pairs: Int64[np.ndarray, "m 2"]) -> Bool[np.ndarray, "m"]:
    """Which of the pairs look alike."""
    one, other = shapes[pairs[:, 0]], shapes[pairs[:, 1]]
    alike: NDArray[np.bool_] = np.abs(one - other) <= SHAPE * np.minimum(one, other)
    for at in range(0, len(pairs), BLOCK):
        block = slice(at, at + BLOCK)
        apart = np.abs(_wide(sums[pairs[block, 0]]) - sums[pairs[block, 1]])
        grays, colors = apart[:, :GRAYS], apart[:, GRAYS:]
        alike[block] &= (grays.mean(1) <= ON_AVERAGE) & (grays.max(1) <= AT_MOST) & (colors.max(1) <= COLORS)
    return alike


def _wide(sums: Looks) -> Int16[np.ndarray, "n 112"]:
    return sums.astype(np.int16)
