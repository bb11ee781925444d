"""BMP whose palette is gray, which Pillow takes for samples of 8 bits, or of one, however many they have."""

import io
import struct

from PIL import Image, ImagePalette

from .rejection import Rejected

GRAY_BITS = {"1": 1, "L": 8}  # of which Pillow needs no palette
OLD_HEADER = 12
RUN_LENGTHS, END_OF_RUNS = (b"\1", b"\2"), b"\0\1"


def opened(data: bytes) -> Image.Image:
    """The file with its header read, and its palette kept where its samples are numbers of colors."""
    image = Image.open(io.BytesIO(data), formats=["BMP"])
    header, bits = struct.unpack_from("<I", data, 14)[0], _bits(data)
    if GRAY_BITS.get(image.mode, bits) == bits:
        return image
    at, each = 14 + header, 3 if header == OLD_HEADER else 4
    palette = data[at : at + each * _colors(data, header, bits)]
    other = data[:at] + bytes([palette[0] ^ 1]) + data[at + 1 :]  # no longer gray: its numbers are read as such
    image = Image.open(io.BytesIO(other), formats=["BMP"])
    image.palette = ImagePalette.raw("BGR" if each == 3 else "BGRX", palette)
    return image


def load(image: Image.Image, data: bytes) -> None:
    """All its pixels; Pillow does not know that run lengths may leave some out."""
    try:
        image.load()
    except ValueError as error:
        if data[30:31] not in RUN_LENGTHS or not data.endswith(END_OF_RUNS):
            raise Rejected("truncated", str(error)) from error
        raise Rejected("unsupported_mode", "run lengths that leave pixels out") from error


def _bits(data: bytes) -> int:
    at = 24 if data[14] == OLD_HEADER else 28
    return int(struct.unpack_from("<H", data, at)[0])


def _colors(data: bytes, header: int, bits: int) -> int:
    listed = 0 if header == OLD_HEADER else struct.unpack_from("<I", data, 46)[0]
    return min(listed or 2**bits, 256)
