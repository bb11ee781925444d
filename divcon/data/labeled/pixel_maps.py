"""Files with a value for each pixel of an image: its class, or its depth."""

from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from PIL import Image, UnidentifiedImageError

from ...errors import DataError
from ...files.text import printable


def read_values(file: Path, modes: tuple[str, ...], kind: str, wanted: str) -> Shaped[np.ndarray, "h w"]:
    """Return the value of each pixel of an image in one of these modes of Pillow. Raises DataError for any other file; it says
    that this is no `kind`, and what is `wanted`."""
    try:
        with Image.open(file) as image:
            if image.mode not in modes:
                raise DataError(f"{printable(file)} is no {kind}: it has {image.mode} pixels, and {wanted}")
            return np.array(image)
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError) as error:
        raise DataError(f"{printable(file)} can't be read ({printable(str(error))}); put a copy there") from error
