"""Images turned upright, by the EXIF orientation that the camera wrote."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

RGBArray = UInt8[np.ndarray, "h w 3"]

ORIENTATION_TAG = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 (upright) where it is missing or unreadable."""
    try:
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:
        return 1


def turn_image(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def turn_array(pixels: RGBArray, orientation: int) -> RGBArray:
    return np.asarray(turn_image(Image.fromarray(pixels), orientation)) if orientation in TURNS else pixels
