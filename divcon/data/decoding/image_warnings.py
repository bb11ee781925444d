"""Notes on images that are used although something is unusual about them."""

import contextlib
import io
import warnings

from PIL import Image

from . import pnm
from .formats import OPENED, leading_blanks
from .headers import PNG_END, jpeg_end
from .orientation import ORIENTATION_TAG

# File extensions, by Pillow's name of the format.
EXTENSIONS = {
    "JPEG": {"jpg", "jpeg", "jpe", "jfif"},
    "MPO": {"jpg", "jpeg", "mpo"},
    "PNG": {"png", "apng"},
    "WEBP": {"webp"},
    "GIF": {"gif"},
    "BMP": {"bmp", "dib"},
    "TIFF": {"tif", "tiff"},
    "AVIF": {"avif", "avifs"},
    "HEIF": {"heic", "heif", "hif"},
    "PPM": {"pbm", "pgm", "ppm", "pnm"},
}


def notes(data: bytes, path: bytes) -> list[str]:
    """Return the notes on a decoded file: `frames=300` (the first is used), `trailing_bytes`, `extension_mismatch`,
    `broken_exif`, `leading_bytes`."""
    before = leading_blanks(data)
    data = data[before:]
    kind, frames = kind_and_frames(data)
    found = {
        f"frames={frames}": frames > 1,
        "trailing_bytes": _image_end(data, kind) < len(data),
        "extension_mismatch": _has_other_extension(path, kind),
        "broken_exif": kind not in ("", "PPM") and _exif_is_broken(data),
        "leading_bytes": before > 0,
    }
    return [note for note, holds in found.items() if holds]


def kind_and_frames(data: bytes) -> tuple[str, int]:
    """Return Pillow's name of the format ("" if unknown) and the number of frames (1 if unknown)."""
    kind, frames = "PPM" if pnm.is_pnm(data) else "", 1
    with contextlib.suppress(Exception):  # the frames behind the first one may be damaged
        image = Image.open(io.BytesIO(data), formats=OPENED)
        kind = str(image.format)
        frames = int(getattr(image, "n_frames", 1))
    return kind, frames


def _image_end(data: bytes, kind: str) -> int:
    """Return the size of the file without trailing bytes; its whole size for formats that do not say."""
    if kind == "JPEG":
        return jpeg_end(data)
    if kind == "PNG":
        return data.index(PNG_END) + len(PNG_END)
    if kind == "PPM":
        return pnm.end(data)
    return 8 + int.from_bytes(data[4:8], "little") if kind == "WEBP" else len(data)


def known_extension(path: bytes) -> str:
    """Return the extension of a file, if it belongs to a format that is read, else nothing."""
    extension = path.rpartition(b"/")[2].rpartition(b".")[2].decode("latin-1").lower()
    return extension if any(extension in names for names in EXTENSIONS.values()) else ""


def _has_other_extension(path: bytes, kind: str) -> bool:
    """Return True if the extension belongs to another format that is read."""
    extension = known_extension(path)
    return extension != "" and extension not in EXTENSIONS.get(kind, {extension})


def _exif_is_broken(data: bytes) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            Image.open(io.BytesIO(data), formats=OPENED).getexif().get(ORIENTATION_TAG)
        except Exception:
            return True
    return False
