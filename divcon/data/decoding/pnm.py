"""PBM, PGM and PPM: a few numbers in ASCII, then samples. Pillow gives 8 bits of those that have 16, and takes seconds."""

import re
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt16
from numpy.typing import NDArray
from PIL import Image

from . import backgrounds, tone_range
from .rejection import Rejected

MAGIC = re.compile(rb"P[1-6](?=[\s#])")
NUMBER = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])*(\d{1,9})(?=[\s#]|$)")
USUAL = 16  # bytes, at most, that a number and what is behind it take
COMMENT = re.compile(rb"#[^\r\n]*")


class Pnm(NamedTuple):
    """A file's header: its samples have `top` for white and begin at `start`."""

    kind: int
    width: int
    height: int
    top: int
    start: int

    @property
    def colors(self) -> int:
        return 3 if self.kind in (3, 6) else 1

    @property
    def is_text(self) -> bool:
        return self.kind <= 3

    @property
    def is_bilevel(self) -> bool:
        return self.kind in (1, 4)

    @property
    def bytes(self) -> int:
        """That its samples take where they are no text."""
        across = -(-self.width // 8) if self.kind == 4 else self.width * self.colors * (2 if self.top > 255 else 1)
        return self.height * across


def is_pnm(data: bytes) -> bool:
    return bool(MAGIC.match(data))


def header(data: bytes) -> Pnm:
    kind, at, numbers = int(data[1:2]), 2, list[int]()
    while len(numbers) < (2 if kind in (1, 4) else 3):
        match = NUMBER.match(data, at)
        if not match:
            cut = at + 64 > len(data)
            raise Rejected("truncated" if cut else "corrupt", "its header has too few numbers")
        numbers.append(int(match[1]))
        at = match.end()
    width, height, top = [*numbers, 1][:3]
    if not 0 < top < 65536:
        raise Rejected("corrupt", f"it says that {top} is white")
    return Pnm(kind, width, height, top, at + 1)


def flat(data: bytes, pnm: Pnm) -> backgrounds.Flat:
    """The picture in RGB."""
    samples = _text(data, pnm) if pnm.is_text else _binary(data, pnm)
    if int(samples.max()) > pnm.top:
        raise Rejected("corrupt", f"it has a {samples.max()}, and says that {pnm.top} is white")
    if pnm.top > 255:
        return tone_range.eight_bits(tone_range.Deep(samples, white=pnm.top, holds=pnm.top))
    shades = ((np.arange(pnm.top + 1) * 255 + pnm.top // 2) // pnm.top).astype(np.uint8)
    picture = (shades[::-1] if pnm.is_bilevel else shades)[samples]
    return backgrounds.Flat(Image.fromarray(np.repeat(picture, 3, axis=2) if pnm.colors == 1 else picture))


def end(data: bytes) -> int:
    """Where the file would end if it held one picture and nothing else."""
    pnm = header(data)
    return len(data) if pnm.is_text else pnm.start + pnm.bytes


def _binary(data: bytes, pnm: Pnm) -> UInt16[np.ndarray, "h w n"]:
    if pnm.start + pnm.bytes > len(data):
        raise Rejected("truncated", "its data ends before the picture does")
    body = np.frombuffer(data, np.uint8, pnm.bytes, pnm.start)
    if pnm.is_bilevel:
        return np.unpackbits(body.reshape(pnm.height, -1), axis=1)[:, : pnm.width, None].astype(np.uint16)
    return _shaped(body.view(">u2") if pnm.top > 255 else body, pnm)


def _text(data: bytes, pnm: Pnm) -> UInt16[np.ndarray, "h w n"]:
    text, wanted = COMMENT.sub(b"", data[pnm.start :]), pnm.width * pnm.height * pnm.colors
    numbers = (_digits if pnm.is_bilevel else _numbers)(text, wanted)
    if len(numbers) < wanted:
        raise Rejected("truncated", f"it has fewer than {wanted:,} numbers")
    return _shaped(np.clip(numbers, 0, 65535), pnm)


def _digits(text: bytes, wanted: int) -> NDArray[np.integer]:
    """Of two levels, which need nothing between them."""
    digits = np.frombuffer(text, np.uint8)
    numbers: NDArray[np.uint8] = digits[(digits == ord("0")) | (digits == ord("1"))][:wanted] - np.uint8(ord("0"))
    return numbers


def _numbers(text: bytes, wanted: int) -> NDArray[np.integer]:
    if text.translate(None, b"0123456789 \t\r\n\v\f"):
        raise Rejected("corrupt", "it has other than numbers")
    for part in (text[: USUAL * wanted], text):  # however long a text is, no more of it is read than may be needed
        numbers: NDArray[np.int64] = np.fromstring(part, np.int64, sep=" ")
        if len(numbers) > wanted:  # the last one may be cut
            break
    return numbers[:wanted]


def _shaped(samples: NDArray[np.generic], pnm: Pnm) -> UInt16[np.ndarray, "h w n"]:
    return samples.reshape(pnm.height, pnm.width, pnm.colors).astype(np.uint16)
