"""JPEG files of the size of ImageNet's, made in parallel."""

import multiprocessing
from pathlib import Path

import numpy as np
from PIL import Image

from .checks import Place

WIDTH, HEIGHT, QUALITY, CORES = 500, 375, 85, 16


def photos(place: Place) -> Path:
    """A folder of photos, 3,000 of 500 x 375 pixels; made at the first call."""
    folder, n = place.folder / "photos", 64 if place.tiny else 3000
    if not folder.exists():
        part = folder.with_suffix(".part")
        part.mkdir(parents=True, exist_ok=True)
        with multiprocessing.get_context("forkserver").Pool(1 if place.tiny else CORES) as pool:
            pool.starmap(write, [(part / f"{number:05}.jpg", number) for number in range(n)], chunksize=32)
        part.rename(folder)
    return folder


def write(file: Path, number: int) -> None:
    """Noise of several scales: about as many bytes as a photo."""
    rng = np.random.default_rng(number)
    layers = [grown(rng, side, 127 / (layer + 1)) for layer, side in enumerate((4, 16, 64, 250))]
    pixels = np.clip(128 + sum(layers), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY)


def grown(rng: np.random.Generator, side: int, strength: float) -> np.ndarray:
    """Smooth noise [HEIGHT, WIDTH, 3] in -strength..strength with features of WIDTH / side pixels."""
    coarse = Image.fromarray(rng.integers(0, 256, (max(2, side * 3 // 4), side, 3), np.uint8))
    fine = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.float32)
    return (fine / 127.5 - 1) * strength
