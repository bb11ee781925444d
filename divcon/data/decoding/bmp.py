"""BMP with a gray palette: Pillow treats its pixels as gray values of 1 or 8 bits, even if they have another width."""

import io
import struct

from PIL import Image, ImagePalette

from .rejection import Rejected

GRAY_BITS = {"1": 1, "L": 8}  # bits of a sample in the modes that Pillow reads without a palette
OLD_HEADER = 12  # bytes of the header of OS/2
RUN_LENGTHS, END_OF_RUNS = (b"\1", b"\2"), b"\0\1"


def open_image(data: bytes) -> Image.Image:
    """Read the header, and keep the palette where the samples are palette indices."""
    image = Image.open(io.BytesIO(data), formats=["BMP"])
    header, bits = struct.unpack_from("<I", data, 14)[0], _bits(data)
    if GRAY_BITS.get(image.mode, bits) == bits:
        return image
    start, entry = 14 + header, 3 if header == OLD_HEADER else 4
    palette = data[start : start + entry * _colors(data, header, bits)]
    # One bit of the first color is changed, so that Pillow does not see a gray palette and keeps the indices.
    changed = data[:start] + bytes([palette[0] ^ 1]) + data[start + 1 :]
    image = Image.open(io.BytesIO(changed), formats=["BMP"])
    image.palette = ImagePalette.raw("BGR" if entry == 3 else "BGRX", palette)
    return image


def load(image: Image.Image, data: bytes) -> None:
    """Decode all pixels. Pillow can't read run-length encoded (RLE) data that skips pixels: it is rejected by that name.

    A complete RLE stream ends with END_OF_RUNS; without it the file was cut."""
    try:
        image.load()
    except ValueError as error:
        if data[30:31] not in RUN_LENGTHS or not data.endswith(END_OF_RUNS):
            raise Rejected("truncated", str(error)) from error
        raise Rejected("unsupported_mode", "run-length encoding that skips pixels") from error


def _bits(data: bytes) -> int:
    offset = 24 if data[14] == OLD_HEADER else 28
    return int(struct.unpack_from("<H", data, offset)[0])


def _colors(data: bytes, header: int, bits: int) -> int:
    listed = 0 if header == OLD_HEADER else struct.unpack_from("<I", data, 46)[0]
    return min(listed or 2**bits, 256)
