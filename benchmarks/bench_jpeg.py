"""From JPEG files to two views each on one core, with the files in the disk's cache: BYOL's two pipelines.

python -m benchmarks.bench_jpeg

divcon decodes as it does without a pixel cache. The other side opens, converts and transforms, as torchvision's ImageFolder does.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from divcon.data.images import open_images
from divcon.data.pixels.pixel_cache import open_pixels
from divcon.data.views.presets import byol
from divcon.data.views.render import views_of

from .pairs import Row, Work, interleaved, save
from .view_peers import photo, torchvision

# height and width of the pictures, side of the views, how many, and how many times as fast
CASES = [((256, 256), 96, 96, 2.5), ((375, 500), 224, 48, 6), ((375, 500), 96, 48, None), ((1536, 2048), 224, 12, None)]


def measure() -> Iterator[Row]:
    for (height, width), size, n, aim in CASES:
        with tempfile.TemporaryDirectory() as place:
            files = written(Path(place) / "photos", height, width, n)
            ratio = interleaved(ours(files[0].parent, Path(place), size), theirs(files, size))
        rate = f"{n / ratio.ours:,.0f} files a second"
        yield ratio.row(f"{width} x {height} to {size}", "Pillow + torchvision", aim, rate)


def written(folder: Path, height: int, width: int, n: int) -> list[Path]:
    folder.mkdir()
    files = [folder / f"{number:03}.jpg" for number in range(n)]
    for number, file in enumerate(files):
        Image.fromarray(photo(height, width, number)).save(file, quality=90)
    return files


def ours(folder: Path, place: Path, size: int) -> Work:
    images = open_images(folder, cache=place / "cache")
    pixels = open_pixels(images, 2 * size, cache=place / "cache", cache_gb=0, workers=1)
    at = np.arange(len(images))

    def make() -> list[object]:
        pictures, rows = pixels.read(at)
        return [views_of(view, pictures, rows, (0, i), at) for i, view in enumerate(byol(size))]

    return make


def theirs(files: list[Path], size: int) -> Work:
    pipelines = torchvision(size), torchvision(size, blur=0.1, solarize=0.2)

    def make() -> list[object]:
        photos = (Image.open(file).convert("RGB") for file in files)
        return [[pipeline(photo) for pipeline in pipelines] for photo in photos]

    return make


def main() -> None:
    torch.set_num_threads(1)
    save("jpeg", measure())


if __name__ == "__main__":
    main()
