"""PBM, PGM and PPM: a few numbers in ASCII, then samples. Pillow reads 8 of 16 bits, and takes seconds for text."""

import re
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt16
from numpy.typing import NDArray
from PIL import Image

from . import tone_range
from .backgrounds import Composite
from .rejection import Rejected

MAGIC = re.compile(rb"P[1-6](?=[\s#])")
NUMBER = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])*(\d{1,9})(?=[\s#]|$)")
USUAL = 16  # bytes, at most, of a number and the space behind it
COMMENT = re.compile(rb"#[^\r\n]*")


class Header(NamedTuple):
    """The header of a file: `kind` is 1 to 6, `white` is the value of white, the samples begin at `start`."""

    kind: int
    width: int
    height: int
    white: int
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
        """The size of the samples where they are not text."""
        row = -(-self.width // 8) if self.kind == 4 else self.width * self.colors * (2 if self.white > 255 else 1)
        return self.height * row


def is_pnm(data: bytes) -> bool:
    return bool(MAGIC.match(data))


def read_header(data: bytes) -> Header:
    kind, offset, numbers = int(data[1:2]), 2, list[int]()
    while len(numbers) < (2 if kind in (1, 4) else 3):
        match = NUMBER.match(data, offset)
        if not match:
            is_cut = offset + 64 > len(data)
            raise Rejected("truncated" if is_cut else "corrupt", "its header has too few numbers")
        numbers.append(int(match[1]))
        offset = match.end()
    width, height, white = [*numbers, 1][:3]
    if not 0 < white < 65536:
        raise Rejected("corrupt", f"its header gives {white} as the value of white")
    return Header(kind, width, height, white, offset + 1)


def decode(data: bytes, header: Header) -> Composite:
    """Return the image in RGB."""
    samples = _read_text(data, header) if header.is_text else _read_binary(data, header)
    if int(samples.max()) > header.white:
        raise Rejected("corrupt", f"a sample is {samples.max()}, and its header gives {header.white} as white")
    if header.white > 255:
        return tone_range.to_8_bits(tone_range.Image16(samples, white=header.white, largest=header.white))
    levels = ((np.arange(header.white + 1) * 255 + header.white // 2) // header.white).astype(np.uint8)
    pixels = (levels[::-1] if header.is_bilevel else levels)[samples]
    return Composite(Image.fromarray(np.repeat(pixels, 3, axis=2) if header.colors == 1 else pixels))


def end(data: bytes) -> int:
    """Return the size of the file without the bytes that follow the first image."""
    header = read_header(data)
    return len(data) if header.is_text else header.start + header.bytes


def _read_binary(data: bytes, header: Header) -> UInt16[np.ndarray, "h w n"]:
    if header.start + header.bytes > len(data):
        raise Rejected("truncated", "its data ends before the image does")
    samples = np.frombuffer(data, np.uint8, header.bytes, header.start)
    if header.is_bilevel:
        return np.unpackbits(samples.reshape(header.height, -1), axis=1)[:, : header.width, None].astype(np.uint16)
    return _shaped(samples.view(">u2") if header.white > 255 else samples, header)


def _read_text(data: bytes, header: Header) -> UInt16[np.ndarray, "h w n"]:
    text, count = COMMENT.sub(b"", data[header.start :]), header.width * header.height * header.colors
    numbers = (_read_digits if header.is_bilevel else _read_numbers)(text, count)
    if len(numbers) < count:
        raise Rejected("truncated", f"it has fewer than {count:,} numbers")
    return _shaped(np.clip(numbers, 0, 65535), header)


def _read_digits(text: bytes, count: int) -> NDArray[np.integer]:
    """Read the samples of a PBM: digits, with or without space between them."""
    digits = np.frombuffer(text, np.uint8)
    numbers: NDArray[np.uint8] = digits[(digits == ord("0")) | (digits == ord("1"))][:count] - np.uint8(ord("0"))
    return numbers


def _read_numbers(text: bytes, count: int) -> NDArray[np.integer]:
    if text.translate(None, b"0123456789 \t\r\n\v\f"):
        raise Rejected("corrupt", "it has other characters than digits and white space")
    for beginning in (text[: USUAL * count], text):  # a text of any length costs no more than its samples
        numbers: NDArray[np.int64] = np.fromstring(beginning, np.int64, sep=" ")
        if len(numbers) > count:  # the last number may be cut
            break
    return numbers[:count]


def _shaped(samples: NDArray[np.generic], header: Header) -> UInt16[np.ndarray, "h w n"]:
    return samples.reshape(header.height, header.width, header.colors).astype(np.uint16)
