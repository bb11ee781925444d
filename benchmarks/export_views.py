"""The pixels of an export's preprocessing beside those of divcon: python -m benchmarks.export_views FOLDER [SIZE ...]"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from timm.data import create_transform

from divcon.exports.preprocessing import timm_share
from divcon.nets.trained import InputSpec
from divcon.train.loaded_encoder import Preprocess

SUFFIXES = (".png", ".jpg", ".jpeg")
IMAGES, SEED = 80, 0
GROUNDS = (255, 0)  # divcon chose one of them for a transparent picture; the nearer one is taken


def on_ground(image: Image.Image, level: int) -> Image.Image:
    """Return the image on a white or black background."""
    colors = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, (level, level, level, 255)), colors).convert("RGB")


def differences(file: Path, size: int) -> tuple[float, float]:
    """Return the mean difference in levels of 255 by timm's transform and by ImageOps.fit."""
    transform = create_transform(
        (3, size, size), crop_pct=timm_share(size), interpolation="bicubic", mean=(0.0,) * 3, std=(1.0,) * 3
    )
    ours = Preprocess(InputSpec(size)).view(file).astype(float)
    resized, fitted = [], []
    with Image.open(file) as image:
        for ground in (on_ground(image, level) for level in GROUNDS):
            view = ImageOps.fit(ground, (size, size), Image.Resampling.BICUBIC, bleed=0.0625)
            resized.append(np.abs(transform(ground).permute(1, 2, 0).numpy() * 255 - ours).mean())
            fitted.append(np.abs(np.asarray(view).astype(float) - ours).mean())
    return float(min(resized)), float(min(fitted))


def lines(folder: Path, sizes: list[int]) -> Iterator[str]:
    """Yield a line for each size: medians and 95th percentiles over a sample of the folder's images."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    sample = np.random.default_rng(SEED).permutation(len(files))[:IMAGES]
    for size in sizes:
        found = np.array([differences(files[i], size) for i in sample])
        (timm, fit), (timm_95, fit_95) = np.median(found, 0), np.percentile(found, 95, axis=0)
        yield f"{size:4} {len(found)} images: timm {timm:.2f} ({timm_95:.2f}), ImageOps.fit {fit:.2f} ({fit_95:.2f})"


if __name__ == "__main__":
    for line in lines(Path(sys.argv[1]), [int(size) for size in sys.argv[2:]] or [32, 64, 224]):
        sys.stdout.write(f"{line}\n")
