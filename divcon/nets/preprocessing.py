"""The preprocessing of images before a network, the same for all networks; encoder.json records it."""

from collections.abc import Mapping
from pathlib import Path

from ..errors import DamagedError
from ..files.text import printable

SHORT_SIDE = 2  # times the size of a view: larger images are shrunk to about this short side before they are cropped

PREPROCESSING: dict[str, str | float] = {
    "exif": "applied",  # the image is turned upright
    "ground": "white_or_black",  # behind transparent pixels, chosen by the image's content
    "short_side": SHORT_SIDE,
    "center": 0.875,  # side of the center crop, as a share of the short side; it is resampled to size x size
    "resampling": "bicubic_antialiased",
}


def check_preprocessing(found: Mapping[str, object], file: Path) -> None:
    """Raise DamagedError if a network was trained with another preprocessing: its features would mean little."""
    for name in sorted({*found, *PREPROCESSING}):
        if found.get(name) != PREPROCESSING.get(name):
            raise DamagedError(
                f"{printable(file)}: preprocess.{printable(name)} is {printable(repr(found.get(name)))}, and this version of divcon "
                f"uses {PREPROCESSING.get(name)!r}; use the version of divcon that wrote the file"
            )
