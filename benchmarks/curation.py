"""The figures of docs/curation.md: how even picks are, which copies are found, and what a million rows cost.

python -m benchmarks.curation made
python -m benchmarks.curation labeled RUN DATA
python -m benchmarks.curation copies RUN DATA
python -m benchmarks.curation million FOLDER
"""

import io
import math
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from divcon.api.features import features_of_pictures
from divcon.api.models import encoder_of, find_model
from divcon.clustering.features import Features
from divcon.curation.balanced import balanced, level_sizes
from divcon.curation.diverse import diverse
from divcon.curation.duplicates import duplicate_groups
from divcon.curation.odd import oddest
from divcon.curation.picks import Whitened
from divcon.curation.typical import typical
from divcon.curation.whitened import whitened_rows
from divcon.data.images import Images, open_images
from divcon.files.caches import cache_folder

Labels = NDArray[np.int64]
SEEDS = 3


def show(*cells: object) -> None:
    sys.stdout.write(f"| {' | '.join(str(cell) for cell in cells)} |\n")
    sys.stdout.flush()


def unit(x: NDArray[np.floating]) -> Whitened:
    rows: Whitened = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float16)
    return rows


def perplexity(counts: NDArray[np.int64]) -> float:
    """Return the number of equally large classes that would be as uneven as these."""
    shares = counts[counts > 0] / counts.sum()
    return math.exp(-float((shares * np.log(shares)).sum()))


# How even picks are


def long_tail(n: int, classes: int, d: int, seed: int) -> tuple[Whitened, Labels]:
    """Return n rows around random directions; class i has 1 / i of the rows of the first, and 8 at least."""
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, classes + 1)
    sizes = np.maximum((n * shares / shares.sum()).astype(int), 8)
    labels = rng.permutation(np.repeat(np.arange(classes), sizes))
    centers = 0.7 * rng.standard_normal((classes, d))
    return unit(centers[labels] + rng.standard_normal((len(labels), d))), labels


def ways(classes: int) -> dict[str, Callable[[Whitened, int, int], NDArray[np.int64]]]:
    def alone(k: int) -> Callable[[Whitened, int, int], NDArray[np.int64]]:
        return lambda x, n, seed: balanced(x, n, seed=seed, sizes=[k]).positions

    return {
        "random": lambda x, n, seed: np.random.default_rng(seed).choice(len(x), n, replace=False),
        f"k-means alone, {classes} clusters": alone(classes),
        "k-means alone, the lowest level": lambda x, n, seed: alone(level_sizes(len(x))[0])(x, n, seed),
        "diverse": lambda x, n, seed: diverse(x, n, seed=seed).positions,
        "typical": lambda x, n, seed: typical(x, n, seed=seed).positions,
        "balanced": lambda x, n, seed: balanced(x, n, seed=seed).positions,
    }


def evenness(collections: Callable[[int], tuple[Whitened, Labels]], n: int) -> None:
    """Show, for each way to pick, the perplexity of the classes, the smallest class, and the classes that are missing."""
    found = dict[str, list[tuple[float, int, int]]]()
    for seed in range(SEEDS):
        x, labels = collections(seed)
        classes = int(labels.max()) + 1
        whole = np.bincount(labels, minlength=classes)
        for name, positions in [("all images", None), *ways(classes).items()]:
            counts = whole if positions is None else np.bincount(labels[positions(x, n, seed)], minlength=classes)
            row = perplexity(counts), int(counts.min()), int((counts == 0).sum())
            found.setdefault(name, []).append(row)
    show("picked", "perplexity", "smallest class", "classes missing")
    for name, rows in found.items():
        values, smallest, missing = (np.array(column) for column in zip(*rows))
        show(
            name, f"{values.mean():.1f} +- {values.std(ddof=1):.1f}", f"{smallest.mean():.1f}", f"{missing.mean():.1f}"
        )


def made() -> None:
    evenness(lambda seed: long_tail(8000, 40, 32, seed), 500)


def seen(run: str, data: str) -> tuple[Images, Features]:
    images = open_images(data, cache=cache_folder())
    x = encoder_of(find_model(run), images, cache=cache_folder()).all()
    return images, Features.of(x.numpy().astype(np.float16))


def labeled(run: str, data: str) -> None:
    """Show the evenness over the folders at the top, and over all folders that hold images."""
    images, features = seen(run, data)
    names = images.names(np.arange(len(images)))
    x = whitened_rows(features, cache_folder())
    for what, folder in (
        ("top", [name.split(b"/")[0] for name in names]),
        ("leaf", [name.rpartition(b"/")[0] for name in names]),
    ):
        labels = np.unique(np.array(folder, object).astype("S"), return_inverse=True)[1]
        sys.stdout.write(f"{what}: {labels.max() + 1} folders\n")
        evenness(lambda seed, labels=labels: (x, labels), 500)  # type: ignore[misc]


# Copies


def saved(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def cropped(image: Image.Image, share: float) -> Image.Image:
    """Return the middle of an image, `share` of each side."""
    w, h = image.size
    dx, dy = round(w * (1 - share) / 2), round(h * (1 - share) / 2)
    return image.crop((dx, dy, w - dx, h - dy))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG of quality 50": lambda image: saved(image, 50),
    "half the size": lambda image: image.resize((max(8, image.width // 2), max(8, image.height // 2))),
    "crop to 95 % of each side": lambda image: cropped(image, 0.95),
    "crop to 90 %": lambda image: cropped(image, 0.9),
    "crop to 80 %": lambda image: cropped(image, 0.8),
    "20 % brighter": lambda image: image.point(lambda v: min(255, int(v * 1.2))),
    "gray": lambda image: image.convert("L").convert("RGB"),
    "mirrored": ImageOps.mirror,
}
COPIED = 150  # images
THRESHOLDS = 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95


def copies(run: str, data: str) -> None:
    """Show how many copies of COPIED images have at least each cosine to their original, and how many pairs of different
    images of the collection have."""
    images, features = seen(run, data)
    model, chosen = find_model(run), np.linspace(0, len(images) - 1, min(COPIED, len(images))).astype(int)
    pictures = [_opened(file) for file in images.read(chosen)]
    x = whitened_rows(features, cache_folder()).astype(np.float32)
    cosines = np.concatenate([x[i] @ x[i + 1 :].T for i in range(len(x) - 1)])
    show("copy", *THRESHOLDS)
    show("pairs in the collection", *(f"{int((cosines >= t).sum()):,}" for t in THRESHOLDS))
    for name, change in COPIES.items():
        changed = {i: change(picture) for i, picture in zip(chosen, pictures)}
        shown = [i for i, picture in changed.items() if any(low < high for low, high in picture.getextrema())]
        copied = features_of_pictures(model, [changed[i] for i in shown], cache=cache_folder())
        alike = (features.comparable(copied) * features.whitened(np.array(shown))).sum(1)
        show(name, *(f"{float((alike >= t).float().mean()):.0%}" for t in THRESHOLDS))


def _opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data)).convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    flat.thumbnail((256, 256))  # eight times what the encoder sees: changes of large pictures take long
    return flat


# A million rows


def million_rows(folder: Path, n: int = 1_000_000, d: int = 512, heaps: int = 5000) -> Whitened:
    """Return made rows of heavy-tailed heaps, mapped from a file."""
    file = folder / "million.npy"
    if not file.exists():
        rng = np.random.default_rng(0)
        shares = 1 / np.arange(1, heaps + 1)
        labels, centers = rng.choice(heaps, n, p=shares / shares.sum()), rng.standard_normal((heaps, d), np.float32)
        rows = np.lib.format.open_memmap(file, "w+", np.float16, (n, d))
        for start in range(0, n, 50_000):
            own = labels[start : start + 50_000]
            rows[start : start + 50_000] = unit(0.7 * centers[own] + rng.standard_normal((len(own), d), np.float32))
    mapped: Whitened = np.load(file, mmap_mode="r")
    return mapped


def million(folder: str, *names: str) -> None:
    """Show seconds, processor seconds and the peak of the memory for 1,000 picks of each kind, and for duplicates."""
    from divcon import machine

    x, chosen = million_rows(Path(folder)), machine.choose(cache_folder())
    jobs: dict[str, Callable[[], object]] = {
        "diverse": lambda: diverse(x, 1000, seed=0, precision=chosen.precision),
        "typical": lambda: typical(x, 1000, seed=0, precision=chosen.precision),
        "odd": lambda: oddest(x, 1000, 10, seed=0, precision=chosen.precision),
        "balanced": lambda: balanced(x, 1000, seed=0, precision=chosen.precision),
        "duplicates": lambda: duplicate_groups(x, 0.9, seed=0, precision=chosen.precision),
    }
    for name in names or jobs:
        with chosen.use():
            began, cpu = time.perf_counter(), time.process_time()
            jobs[name]()
            wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        show(name, f"{wall:.0f} s", f"{cpu:.0f} s of processor", f"{peak:.2f} GiB", chosen.precision)


def main() -> None:
    parts: dict[str, Callable[..., None]] = {
        "made": made,
        "labeled": labeled,
        "copies": copies,
        "million": million,
    }
    part, *arguments = sys.argv[1:]
    parts[part](*arguments)


if __name__ == "__main__":
    main()
