"""The one way in which pictures are shown to a network, in words: encoder.json has it."""

from pathlib import Path
from typing import Any

from ..errors import DamagedError
from ..files.text import printable

SHORT_SIDE = 2  # times the size of a view: larger pictures are shrunk to about that before they are cropped

PREPROCESSING: dict[str, Any] = {
    "exif": "applied",  # turned upright
    "ground": "white_or_black",  # of what lets something through: by what is in the picture
    "short_side": SHORT_SIDE,
    "center": 0.875,  # of the short side, the square in the middle, is resampled to size x size
    "resampling": "bicubic_antialiased",
}


def check_preprocessing(found: Any, file: Path) -> None:
    """DamagedError, if a network wants to be shown pictures in a way that is not ours: what it saw of them would mean little."""
    if not isinstance(found, dict):
        raise DamagedError(f"{printable(file)} is damaged: preprocess is not an object; put back a copy")
    for name in sorted({*found, *PREPROCESSING}):
        if found.get(name) != PREPROCESSING.get(name):
            raise DamagedError(
                f"{printable(file)}: preprocess.{printable(name)} is {printable(repr(found.get(name)))}, and this divcon shows pictures with "
                f"{PREPROCESSING.get(name)!r}; use the version of divcon that wrote it"
            )
