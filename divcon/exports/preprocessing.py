"""The preprocessing of divcon in the terms of other libraries."""

import math
from typing import TypedDict

from ..nets.preprocessing import PREPROCESSING
from ..nets.trained import InputSpec


class Preprocessing(TypedDict):
    """The steps of torchvision: the short side becomes `resize` pixels, and the square of `crop` pixels is cut out."""

    resize: int
    crop: int
    interpolation: str
    mean: list[float]
    std: list[float]


def crop_share() -> float:
    """Return the side of the center crop as a share of the short side."""
    share = PREPROCESSING["center"]
    assert isinstance(share, float)
    return share


def resized_side(size: int) -> int:
    """Return the short side in pixels from which other libraries cut out the middle `size` pixels.

    It is the nearest to `size` over the crop's share that leaves as many pixels on the left as on the right: half a pixel
    aside changes more than a scale that is a little off.
    """
    return size + 2 * round((size / crop_share() - size) / 2)


def timm_share(size: int) -> float:
    """Return the share from which timm computes this side: floor(size / share)."""
    share = size / resized_side(size)
    return share if math.floor(size / share) == resized_side(size) else math.nextafter(share, 0)


def preprocessing_of(spec: InputSpec) -> Preprocessing:
    """Return the steps that come nearest to the center view, which is cut out first and resized once."""
    return {
        "resize": resized_side(spec.size),
        "crop": spec.size,
        "interpolation": "bicubic",
        "mean": list(spec.mean),
        "std": list(spec.std),
    }


def resizing_note(spec: InputSpec, subject: str) -> str:
    """Return the words about a target that resizes first and crops later."""
    return (
        f"{subject} resizes the short side to {resized_side(spec.size)} pixels first, and then cuts out the middle {spec.size}. "
        "So its pixels differ from those of the training by a few levels of 255, and its features by a cosine of about 0.995 "
        "(docs/export.md of divcon has the figures). For the same pixels, replace its resizing by\n\n"
        f"```python\n{view_code(spec)}```"
    )


VIEW = """\
picture = ImageOps.exif_transpose(Image.open("picture.jpg")).convert("RGB")
view = ImageOps.fit(picture, ({size}, {size}), Image.Resampling.BICUBIC, bleed={bleed})
"""
TENSOR = """\
normalize = v2.Compose([v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize({mean}, {std})])
images = normalize(view)[None]
"""


def view_code(spec: InputSpec) -> str:
    """Return a program that makes `view`, the center view of picture.jpg, with Pillow alone."""
    return VIEW.format(size=spec.size, bleed=(1 - crop_share()) / 2)


def tensor_code(spec: InputSpec) -> str:
    """Return a program that makes `images`, the normalized center view of picture.jpg, with Pillow and torchvision."""
    return view_code(spec) + TENSOR.format(mean=list(spec.mean), std=list(spec.std))
