"""What is worth knowing of a picture that is used all the same."""

import contextlib
import io
import warnings

from PIL import Image

from . import pnm
from .formats import OPENED, blanks
from .headers import PNG_END, jpeg_end

NAMED = {
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
    """Of a file that was decoded: `frames=300` of which the first is used, `trailing_bytes`, `extension_mismatch`,
    `broken_exif`, `leading_bytes`."""
    before = blanks(data)
    data = data[before:]
    kind, frames = kind_and_frames(data)
    found = {
        f"frames={frames}": frames > 1,
        "trailing_bytes": _picture_ends(data, kind) < len(data),
        "extension_mismatch": _misnamed(path, kind),
        "broken_exif": kind not in ("", "PPM") and _exif_is_broken(data),
        "leading_bytes": before > 0,
    }
    return [note for note, holds in found.items() if holds]


def kind_and_frames(data: bytes) -> tuple[str, int]:
    """The name of its format, and the number of pictures in it, as far as they can be told."""
    kind, frames = "PPM" if pnm.is_pnm(data) else "", 1
    with contextlib.suppress(Exception):  # what comes behind the first picture may be damaged
        image = Image.open(io.BytesIO(data), formats=OPENED)
        kind = str(image.format)
        frames = int(getattr(image, "n_frames", 1))
    return kind, frames


def _picture_ends(data: bytes, kind: str) -> int:
    """Where the file would end if it held the picture and nothing else, for the formats that tell."""
    if kind == "JPEG":
        return jpeg_end(data)
    if kind == "PNG":
        return data.index(PNG_END) + len(PNG_END)
    if kind == "PPM":
        return pnm.end(data)
    return 8 + int.from_bytes(data[4:8], "little") if kind == "WEBP" else len(data)


def _misnamed(path: bytes, kind: str) -> bool:
    """Whether the name promises another of our formats."""
    extension = path.rpartition(b"/")[2].rpartition(b".")[2].decode("latin-1").lower()
    known = {name for names in NAMED.values() for name in names}
    return extension in known and extension not in NAMED.get(kind, known)


def _exif_is_broken(data: bytes) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            Image.open(io.BytesIO(data), formats=OPENED).getexif().get(0x0112)
        except Exception:
            return True
    return False
