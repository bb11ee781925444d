"""Views as others make them: BYOL's two pipelines in torchvision's transforms and in albumentations; pictures for them.

torchvision's own GaussianBlur turns a Pillow image into a tensor and back; Pillow's filter is faster, so it is given that.
"""

import random
from collections.abc import Callable
from typing import Any

import albumentations
import cv2
import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torchvision import transforms

Picture = UInt8[np.ndarray, "h w 3"]


def photo(height: int, width: int, seed: int) -> Picture:
    """Blobs of all sizes with a grain: about as smooth as a photograph, in colors of all kinds."""
    rng = np.random.default_rng(seed)
    total = rng.normal(0, 0.05, (height, width, 3))
    for octave in range(1, 7):
        blobs = Image.fromarray(rng.integers(0, 256, (2**octave, 2**octave, 3), np.uint8))
        total += 0.6**octave * np.asarray(blobs.resize((width, height), Image.Resampling.BICUBIC)) / 255
    low, high = np.quantile(total, (0.005, 0.995))
    scaled: NDArray[np.uint8] = (255 * (total - low) / (high - low)).clip(0, 255).astype(np.uint8)
    return scaled


class Blurred:
    """Pillow's Gaussian blur, of a sigma drawn anew each time."""

    def __init__(self, size: int):
        self.ends = 0.1 * size / 224, 2.0 * size / 224

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(random.uniform(*self.ends)))


def torchvision(size: int, blur: float = 1.0, solarize: float = 0.0) -> Callable[[Image.Image], Any]:
    """BYOL's first pipeline, as its documentation composes one for Pillow images; with other chances, its second."""
    steps = [
        transforms.RandomResizedCrop(size, scale=(0.08, 1.0), interpolation=transforms.InterpolationMode.BICUBIC),
        transforms.RandomHorizontalFlip(),
        transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8),
        transforms.RandomGrayscale(0.2),
        Blurred(size) if blur == 1 else transforms.RandomApply([Blurred(size)], p=blur),
    ]
    steps += [transforms.RandomSolarize(128, p=solarize)] if solarize else []
    composed: Callable[[Image.Image], Any] = transforms.Compose([*steps, transforms.PILToTensor()])
    return composed


def albumentation(size: int) -> Callable[..., dict[str, Any]]:
    """BYOL's first pipeline. Its crop is bilinear and not antialiased, and it rounds to bytes after each step."""
    cv2.setNumThreads(0)
    taps = max(3, 2 * round((23 * size / 224 - 1) / 2) + 1)
    composed: Callable[..., dict[str, Any]] = albumentations.Compose([
        albumentations.RandomResizedCrop((size, size), scale=(0.08, 1.0)),
        albumentations.HorizontalFlip(p=0.5),
        albumentations.ColorJitter(brightness=(0.6, 1.4), contrast=(0.6, 1.4), saturation=(0.8, 1.2), hue=(-0.1, 0.1), p=0.8),
        albumentations.ToGray(p=0.2),
        albumentations.GaussianBlur((taps, taps), (0.1 * size / 224, 2.0 * size / 224), p=1.0),
    ])  # fmt: skip
    return composed
