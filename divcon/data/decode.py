"""Bytes to pixels, strictly: a picture comes out whole, upright and in RGB, or is rejected with a reason.

What a file is follows from its content; its name is never asked.
"""

import contextlib
import io
import struct
from collections.abc import Iterator

import numpy as np
import PIL
import simplejpeg
from jaxtyping import UInt8
from PIL import Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from .containers import PNG, foreign, forms_a_ring, jpeg_end, png_rows_are_missing, tiff_parts_are_missing, webp_size

Picture = UInt8[np.ndarray, "h w 3"]

FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]
# What is kept of an earlier decoding is only good for the libraries that did it.
DECODING = f"5, Pillow {PIL.__version__}, simplejpeg {simplejpeg.__version__}"

MAX_BYTES = 256 * 2**20
MAX_PIXELS = 89_000_000
MIN_SIDE = 8
MAX_ASPECT = 32

# A picture is kept as it is, or as a decoder of JPEG shrinks it, while its short side is about `side` long.
ABOUT = 0.95, 1.5
EIGHTHS = 1, 2, 3, 4  # in these a JPEG is decoded faster than whole; in 5, 6 and 7 slower

JPEG, JPEG_END, JPEG_SCAN, JPEG_NOTE = b"\xff\xd8\xff", b"\xff\xd9", b"\xff\xda", b"\xff\xe1"
WEBP = b"RIFF"
PNG_END = b"IEND\xaeB`\x82"
SIGNATURES = (PNG, WEBP, JPEG, b"GIF8", b"BM", b"II*\0", b"MM\0*")
NOISE = b"\x55\xa3" * 2000  # as good as any, to a decoder of JPEG
HEADER = 32
FORMATS_SAID = f"{', '.join(FORMATS[:-1])} and {FORMATS[-1]}"
OPAQUE = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"}
LAYERED = {"1", "L", "P", "RGB", "LA", "PA", "RGBA", "RGBa"}
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Named so that both are registered before threads begin to open files.
PLUGINS = (TiffImagePlugin, WebPImagePlugin)


class Rejected(ValueError):  # noqa: N818 - it says what became of the file; nothing went wrong
    """Not a picture to learn from. `reason` is one word of a fixed list, `detail` what else is known."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


def rgb(data: bytes) -> Picture:
    """The first picture in an encoded file, wholly decoded: upright, on white where it lets something through.

    Decoders fill in what is missing and say nothing; here it is looked for."""
    image = _opened(data)
    if image.format in ("JPEG", "MPO"):
        pixels = _strict_jpeg(data)
        if pixels is not None and image.mode in ("L", "RGB"):
            return _turned(pixels, _orientation(image))
    picture = np.asarray(_whole(image, data))
    if image.format == "PNG" and png_rows_are_missing(data):
        raise Rejected("truncated", "it has fewer rows than it says")
    return picture


def _strict_jpeg(data: bytes) -> Picture | None:
    """As it lies in the file; None where something else is wrong with it that a decoder makes up for."""
    try:
        pixels: Picture = simplejpeg.decode_jpeg(data, "RGB", strict=True)
        return pixels
    except ValueError as error:
        if "premature end" in str(error) or "found marker 0xd9" in str(error) or _ends_early(data):
            raise Rejected("truncated", "its data ends before the picture does") from error
        return None


def _ends_early(data: bytes) -> bool:
    """Whether more data before the end of a JPEG would show: of one that another flaw keeps a decoder from judging."""
    end = jpeg_end(data) - len(JPEG_END)
    files = data, data[:end] + NOISE + data[end:]
    with contextlib.suppress(Rejected), _judged(data):
        as_it_is, with_more = (np.asarray(Image.open(io.BytesIO(file), formats=FORMATS)) for file in files)
        return bool((as_it_is != with_more).any())
    return False


def fitted(width: int, height: int, side: int) -> tuple[int, int]:
    """(width, height) of a picture as it is kept: its short side at least `side` long, or a twentieth less.

    It stays as it is up to half as much again: resampling what is nearly right costs more than to keep it. Else it
    shrinks by eighths if that hits the same range, or to `side`. It never grows.
    """
    short = min(width, height)
    least, most = ABOUT[0] * side, ABOUT[1] * side
    if short <= most:
        return width, height
    for eighths in EIGHTHS:
        if least <= _eighths(short, eighths) <= most:
            return _eighths(width, eighths), _eighths(height, eighths)
    return _rounded(width * side, short), _rounded(height * side, short)


def _eighths(length: int, eighths: int) -> int:
    return (length * eighths + 7) // 8


def shrunk(data: bytes, side: int) -> Picture:
    """The picture at exactly its `fitted` size."""
    if _is_plain_jpeg(data):
        with contextlib.suppress(ValueError):  # Pillow knows what is wrong, or reads it after all
            return _shrunk_jpeg(data, side)
    image = _opened(data)
    if image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB"):
        with contextlib.suppress(ValueError):
            return _turned(_shrunk_jpeg(data, side), _orientation(image))
    image = _whole(image, data)
    return np.asarray(_resized(image, fitted(*image.size, side)))


def _is_plain_jpeg(data: bytes) -> bool:
    """Whether it is a JPEG that ends as one, and says nothing about being turned: most need no second look."""
    whole = data.startswith(JPEG) and data.endswith(JPEG_END) and len(data) <= MAX_BYTES
    return whole and data.find(JPEG_NOTE, 0, data.find(JPEG_SCAN)) < 0


def _shrunk_jpeg(data: bytes, side: int) -> Picture:
    """As it lies in the file: scaled while it is decoded as far as that goes, by resampling for the rest."""
    height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    if colours not in ("YCbCr", "Gray"):
        raise ValueError(f"{colours} is left to Pillow")
    _check_size(width, height)
    size = fitted(width, height, side)
    eighths = next((e for e in EIGHTHS if _eighths(width, e) >= size[0] and _eighths(height, e) >= size[1]), 8)
    least = {"min_width": _eighths(width, eighths), "min_height": _eighths(height, eighths)}
    pixels: Picture = simplejpeg.decode_jpeg(data, "RGB", **least, strict=False)
    return pixels if pixels.shape[1::-1] == size else np.asarray(_resized(Image.fromarray(pixels), size))


def _opened(data: bytes) -> Image.Image:
    """The file with its header read, and nothing of its pixels: what follows from the header is decided here."""
    if not data:
        raise Rejected("empty_file")
    if len(data) > MAX_BYTES:
        raise Rejected("file_too_large", f"{len(data):,} bytes")
    if data.startswith(WEBP):  # opening one takes the memory for its canvas
        _check_size(*webp_size(data))
    with _judged(data):
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        _check_size(*image.size)
        _check_ends(image, data)
        return image


def _whole(image: Image.Image, data: bytes) -> Image.Image:
    """All its pixels, in RGB and upright."""
    with _judged(data):
        image.load()
        return _upright(_flat(image), _orientation(image))


def _check_size(width: int, height: int) -> None:
    size = f"{width} x {height}"
    if width * height > MAX_PIXELS:
        raise Rejected("too_many_pixels", size)
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise Rejected("extreme_aspect", size)
    if min(width, height) < MIN_SIDE:
        raise Rejected("too_small", size)


def _check_ends(image: Image.Image, data: bytes) -> None:
    """What Pillow passes over in silence: checksums of a PNG, and the ends of PNG and JPEG."""
    if image.format == "PNG":
        Image.open(io.BytesIO(data), formats=["PNG"]).verify()
        if PNG_END not in data:
            raise Rejected("truncated", "its end is missing")
    if image.format in ("JPEG", "MPO") and not jpeg_end(data):
        raise Rejected("truncated", "its end is missing")
    if image.format == "TIFF" and forms_a_ring(data):
        raise Rejected("corrupt", "its directories lead back to one another")
    if isinstance(image, TiffImagePlugin.TiffImageFile) and tiff_parts_are_missing(dict(image.tag_v2)):
        raise Rejected("truncated", "it has fewer rows than it says")


@contextlib.contextmanager
def _judged(data: bytes) -> Iterator[None]:
    """Whatever a decoder throws at us, as a reason."""
    try:
        yield
    except (Rejected, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Rejected("too_many_pixels", str(error)) from error
    except UnidentifiedImageError as error:
        raise _unidentified(data) from error
    except Exception as error:
        cut = isinstance(error, EOFError) or "truncated" in str(error).lower()
        raise Rejected("truncated" if cut else "corrupt", str(error)[:200]) from error


def _unidentified(data: bytes) -> Rejected:
    """A file that no decoder knew: no image at all, unless it begins as one."""
    empty_png = data.startswith(PNG) and 0 in struct.unpack(">II", data[16:24].ljust(8, b"\0"))
    if kind := foreign(data):
        return Rejected("vector_image" if kind == "SVG" else "format_not_allowed", f"{kind}; {FORMATS_SAID} are read")
    if len(data) < HEADER or not data.startswith(SIGNATURES) or empty_png:
        return Rejected("not_an_image", f"begins with {data[:16]!r}")
    little = data.startswith(b"II")
    directory = int.from_bytes(data[4:8], "little" if little else "big")
    if data.startswith((b"II", b"MM")) and directory >= len(data) - 2:
        return Rejected("truncated", "its directory is missing")
    return Rejected("corrupt", "its header can't be read")


def _flat(image: Image.Image) -> Image.Image:
    """Any kind of pixels as plain RGB."""
    if image.mode.startswith("I;16"):
        return _deep_grey(image).convert("RGB")
    if image.has_transparency_data and image.mode in LAYERED:
        return _on_white(image.convert("RGBA"))
    if image.mode in OPAQUE:
        return image.convert("RGB")
    raise Rejected("unsupported_mode", image.mode)


def _deep_grey(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits, scaled from its own white: Pillow's conversion would clip it at 255."""
    values = np.asarray(image)
    bits = image.tag_v2.get(258, (16,))[0] if isinstance(image, TiffImagePlugin.TiffImageFile) else 16
    white = 2**bits - 1
    grey = ((values.astype(np.uint32) * 255 + white // 2) // white).astype(np.uint8)
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey)


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white


def _orientation(image: Image.Image) -> int:
    """How the picture has to be turned, as in EXIF; 1 (not at all) where the note can't be read."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image


def _turned(picture: Picture, orientation: int) -> Picture:
    return np.asarray(_upright(Image.fromarray(picture), orientation)) if orientation in UPRIGHT else picture


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    # Averaging whole blocks first costs nothing to see, and much less time on a large picture.
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)


def _rounded(a: int, b: int) -> int:
    return (2 * a + b) // (2 * b)
