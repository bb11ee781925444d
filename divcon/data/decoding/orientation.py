"""Pictures turned upright, as EXIF says that a camera was held."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

Picture = UInt8[np.ndarray, "h w 3"]

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def orientation(image: Image.Image) -> int:
    """How the picture has to be turned, as in EXIF; 1 (not at all) where the note can't be read."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:
        return 1


def upright(image: Image.Image, way: int) -> Image.Image:
    return image.transpose(UPRIGHT[way]) if way in UPRIGHT else image


def turned(picture: Picture, way: int) -> Picture:
    return np.asarray(upright(Image.fromarray(picture), way)) if way in UPRIGHT else picture
