"""Near-duplicates: images that look alike though their bytes differ, because one was saved again or resized.

`thumbnail` summarizes an image by a small gray copy and the colors of its four quarters. `find_near_duplicates` finds
pairs of similar thumbnails without comparing all pairs: random directions turn each thumbnail into 128 bits, most of
which are equal for similar ones (Charikar 2002). The bits are sorted eight times, each time from another start bit, and
each thumbnail is compared with its neighbors in each order.
"""

from collections.abc import Iterator

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
WORD = 8  # bytes
MAX_DIFFERENT_BITS = 32  # of pairs whose thumbnails are compared
NOISE = 32  # what noise in a plain image can add up to: it must set no bit
BLOCK = 8_192  # thumbnails, or pairs of them, processed at a time

# Odd numbers, one for each of the 15 words of a thumbnail and an aspect.
MULTIPLIERS = np.array([pow(0x9E3779B97F4A7C15, i, 2**64) for i in range(1, 16)], np.uint64)
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

    The original is the first image that looks like this one and has no original itself. `thumbnails` is [n, 112], in
    memory or mapped from a file, and `aspects` [n] is width / height. It takes some 80 bytes of memory an image.
    """
    first = _first_equal(thumbnails, aspects)  # of those with equal keys, of which there may be thousands
    is_first = first == np.arange(len(thumbnails))
    same = np.flatnonzero(~is_first)
    firsts = first[same]
    del first
    distinct = np.flatnonzero(is_first)
    found = _originals(thumbnails, aspects, distinct)
    originals = np.full(len(thumbnails), -1, np.int64)
    originals[distinct[found >= 0]] = distinct[found[found >= 0]]
    originals[same] = np.where(originals[firsts] < 0, firsts, originals[firsts])
    return originals


def _first_equal(thumbnails: Thumbnails, aspects: Aspects) -> Int64[np.ndarray, "n"]:
    """Return for each image the first one with the same thumbnail and aspect; they are sorted by a short digest of both."""
    n = len(thumbnails)
    digests = np.empty(n, np.uint64)
    for begin in range(0, n, BLOCK):
        words = _keys(thumbnails, aspects, np.arange(begin, min(begin + BLOCK, n))).view(np.uint64)
        digests[begin : begin + BLOCK] = ((words ^ words >> np.uint64(29)) * MULTIPLIERS).sum(1)
    order = np.argsort(digests, kind="stable")
    begins = np.flatnonzero(np.concatenate([[True], digests[order[1:]] != digests[order[:-1]]])[:n])
    sizes = np.diff(begins, append=n)
    several = np.repeat(sizes > 1, sizes)
    first = np.arange(n)
    _find_first(thumbnails, aspects, order[several], np.repeat(np.flatnonzero(sizes > 1), sizes[sizes > 1]), first)
    return first


def _find_first(
    thumbnails: Thumbnails,
    aspects: Aspects,
    rows: Int64[np.ndarray, "m"],
    groups: Int64[np.ndarray, "m"],
    first: Int64[np.ndarray, "n"],
) -> None:
    """Write to `first`, for each row, the first one of its group that has an equal key. Few groups have several keys."""
    while len(rows):
        is_begin = np.concatenate([[True], groups[1:] != groups[:-1]])
        candidates, equal = rows[is_begin][np.cumsum(is_begin) - 1], np.empty(len(rows), np.bool_)
        for begin in range(0, len(rows), BLOCK):
            block = slice(begin, begin + BLOCK)
            of_rows, of_candidates = (_keys(thumbnails, aspects, some[block]) for some in (rows, candidates))
            equal[block] = (of_rows == of_candidates).all(1)
        first[rows[equal]] = candidates[equal]
        rows, groups = rows[~equal], groups[~equal]


def _keys(thumbnails: Thumbnails, aspects: Aspects, rows: Int64[np.ndarray, "m"]) -> UInt8[np.ndarray, "m 120"]:
    of_aspects = np.ascontiguousarray(aspects[rows], np.float64)[:, None].view(np.uint8)
    return np.concatenate([thumbnails[rows], of_aspects], axis=1)


def _originals(thumbnails: Thumbnails, aspects: Aspects, rows: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
    pairs = _similar_pairs(thumbnails, aspects, rows)
    originals = np.full(len(rows), -1, np.int64)
    for begin in range(0, len(pairs), BLOCK):
        for first, second in pairs[begin : begin + BLOCK].tolist():
            if originals[first] < 0 and originals[second] < 0:
                originals[second] = first
    return originals


def _similar_pairs(thumbnails: Thumbnails, aspects: Aspects, rows: Int64[np.ndarray, "n"]) -> Pairs:
    """Return pairs of `rows` that look alike, the smaller position first, sorted by the second and then by the first."""
    bits, found = _random_bits(thumbnails, rows), np.empty((0, 2), np.int64)
    for turn in range(0, bits.shape[1], bits.shape[1] // ORDERS):
        order = np.lexsort([_word(bits, turn + begin) for begin in (WORD, 0)])
        words = np.empty((len(order), BITS // 64), ">u8")
        for begin in range(0, len(order), BLOCK):
            words[begin : begin + BLOCK] = np.roll(bits[order[begin : begin + BLOCK]], -turn, axis=1).view(">u8")
        pairs = [pairs[_are_similar(thumbnails, aspects, rows[pairs])] for pairs in _neighbors(words, order)]
        found = np.unique(np.concatenate([found, *pairs]), axis=0)
        del order, words  # before the next ones are made
    return found[np.lexsort(found.T)]


def _word(bits: UInt8[np.ndarray, "n 16"], begin: int) -> NDArray[np.uint64]:
    """Return eight bytes of each row as a number, from the byte `begin` on; the first byte follows the last one."""
    word = np.zeros(len(bits), np.uint64)
    for i in range(begin, begin + WORD):
        word <<= np.uint64(8)
        word |= bits[:, i % bits.shape[1]]
    return word


def _neighbors(words: NDArray[np.uint64], order: Int64[np.ndarray, "n"]) -> Iterator[Pairs]:
    """Yield pairs that are near in a sorted order and differ in few bits, in blocks."""
    n = len(order)
    for step in range(1, min(NEIGHBORS + 1, n)):
        for begin in range(0, n - step, BLOCK):
            end = min(begin + BLOCK, n - step)
            different_bits = np.bitwise_count(words[begin:end] ^ words[begin + step : end + step]).sum(1)
            near = begin + np.flatnonzero(different_bits <= MAX_DIFFERENT_BITS)
            yield np.sort(np.stack([order[near], order[near + step]], 1), axis=1)


def _random_bits(thumbnails: Thumbnails, rows: Int64[np.ndarray, "n"]) -> UInt8[np.ndarray, "n 16"]:
    """Return the signs of the projections of the centered grays on random directions, as bits."""
    signs = np.where(uniforms(("near",), np.arange(GRAYS), BITS) < 0.5, -1, 1).astype(np.float32)
    bits = np.empty((len(rows), BITS // 8), np.uint8)
    for begin in range(0, len(rows), BLOCK):
        grays = thumbnails[rows[begin : begin + BLOCK], :GRAYS].astype(np.float32)
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
