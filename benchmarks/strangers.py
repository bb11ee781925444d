"""The evidence for the measure of `pick how=odd`: planted strangers among the 40 oddest images, for each measure of distance.

python -m benchmarks.strangers FOLDER DRAWINGS RUN MADE_RUN...

DRAWINGS is a folder of Open Clip Art, and RUN a run of it. Each MADE_RUN is a run of made images. In FOLDER, six
collections of 2,000 images and 20 strangers are made: three of drawings, and three of made images. They are encoded by
these runs.
"""

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from divcon.api.models import encoder_of, find_model
from divcon.clustering.features import Features
from divcon.data.images import open_images
from divcon.data.synthetic import KINDS, draw_image, make_collection
from divcon.files.caches import cache_folder

IMAGES, STRANGERS, SHOWN, SEEDS = 2000, 20, 40, 3
NEIGHBORS = 5, 10, 20
Scores = dict[str, NDArray[np.float64]]


def noise(rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
    return rng.integers(0, 256, (side, side, 3), np.uint8)


def page(rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
    pixels = np.full((side, side, 3), 250, np.uint8)
    for y in range(4, side - 4, 5):
        pixels[y : y + 2, 4 : 4 + int(rng.integers(20, 40))] = rng.integers(0, 60)
    return pixels


def ramp(rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
    colors = np.linspace(0, 255, side) * rng.random((3, 1))
    return np.repeat(colors.T[None].astype(np.uint8), side, 0)


def blank(rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
    pixels = np.full((side, side, 3), rng.integers(0, 256, 3), np.uint8)
    pixels[int(rng.integers(side)), int(rng.integers(side))] ^= 64
    return pixels


def photo(rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
    return draw_image(list(KINDS.values())[int(rng.integers(len(KINDS)))], rng, side)


def plant(folder: Path, kinds: list[Callable[[np.random.Generator, int], NDArray[np.uint8]]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    (folder / "stranger").mkdir()
    for number, kind in zip(range(STRANGERS), itertools.cycle(kinds)):
        Image.fromarray(kind(rng, 48)).save(folder / "stranger" / f"{number}.png")


def plant_in_made(folder: Path, seed: int) -> None:
    make_collection(folder, IMAGES, seed=seed)
    plant(folder, [noise, page, ramp, blank], seed)


def plant_in_drawings(folder: Path, seed: int, drawings: Path) -> None:
    """Copy IMAGES drawings, drawn by the seed from those that a collection of all of them uses, and add the strangers."""
    images = open_images(drawings, cache=cache_folder())
    chosen = np.sort(np.random.default_rng(seed).choice(len(images), IMAGES, replace=False))
    (folder / "drawing").mkdir(parents=True)
    for position, data in zip(chosen, images.read(chosen)):
        (folder / "drawing" / f"{position}.png").write_bytes(data)
    plant(folder, [noise, page, ramp, photo], seed)


def measures(x: NDArray[np.float16]) -> Scores:
    """Return the oddness of each row, by each measure."""
    features = Features.of(x)
    raw = torch.from_numpy(x.astype(np.float32))
    white = features.whitening(raw)
    centered = raw - raw.mean(0)
    distances = {
        "raw cosine": _angles(raw),
        "centered cosine": _angles(centered),
        "whitened cosine": _angles(white),
        "raw distance": torch.cdist(raw, raw),
        "whitened distance": torch.cdist(white, white),
    }
    scores: Scores = {}
    for k in NEIGHBORS:
        own = {name: table.sort(1).values[:, k].double().numpy() for name, table in distances.items()}
        own["ranks of both cosines"] = _rank(own["raw cosine"]) + _rank(own["whitened cosine"])
        own["ranks of both distances"] = _rank(own["raw distance"]) + _rank(own["whitened distance"])
        own["ranks of raw cosine and whitened distance"] = _rank(own["raw cosine"]) + _rank(own["whitened distance"])
        scores |= {f"{name}, neighbor {k}": values for name, values in own.items()}
    return scores | {"distance from the mean, whitened": white.norm(dim=1).double().numpy()}


def _angles(x: Tensor) -> Tensor:
    unit = F.normalize(x, dim=1)
    return 1 - unit @ unit.T


def _rank(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.argsort(np.argsort(values, kind="stable"), kind="stable").astype(np.float64)


def found(run: Path, folder: Path) -> dict[str, int]:
    """Return the number of strangers among the SHOWN oddest images, by each measure."""
    images = open_images(folder, cache=cache_folder())
    x = encoder_of(find_model(run), images, cache=cache_folder()).all().numpy().astype(np.float16)
    strange = np.array([name.startswith(b"stranger") for name in images.names(np.arange(len(images)))])
    return {name: int(strange[np.argsort(-score, kind="stable")[:SHOWN]].sum()) for name, score in measures(x).items()}


def main() -> None:
    place, drawings, run, *made_runs = map(Path, sys.argv[1:])
    groups: dict[str, list[dict[str, int]]] = {}
    for seed in range(SEEDS):
        made, drawn = place / f"made-{seed}", place / f"drawings-{seed}"
        if not made.exists():
            plant_in_made(made, seed)
        if not drawn.exists():
            plant_in_drawings(drawn, seed, drawings)
        for encoder, folder in [(run, drawn), *((other, made) for other in made_runs)]:
            groups.setdefault(f"{folder.name[:-2]}, {encoder.name}", []).append(found(encoder, folder))
    show("measure", *groups, "mean")
    for name in next(iter(groups.values()))[0]:
        counts = [[row[name] for row in rows] for rows in groups.values()]
        show(name, *(f"{np.mean(own):.1f} ({', '.join(map(str, own))})" for own in counts), f"{np.mean(counts):.1f}")


def show(*cells: object) -> None:
    sys.stdout.write(f"| {' | '.join(str(cell) for cell in cells)} |\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
