"""Views a second on one core, against Pillow and torchvision's transforms in the same run.

    python benchmarks/bench_views.py

Interleaved pairs; medians and their spread. The pictures are noise; both sides make BYOL's first view of each.
"""

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import transforms as T

from divcon.data.ragged import Ragged
from divcon.data.views import byol, views_of

PAIRS = 7
CASES = [(32, 32), (64, 64), (256, 96), (256, 224)]  # side of the picture, side of the view


def peer(size: int) -> T.Compose:
    """BYOL's first pipeline as torchvision's documentation has it for Pillow images."""
    taps = max(3, 23 * size // 224 | 1)
    return T.Compose([
        T.RandomResizedCrop(size, scale=(0.08, 1.0), interpolation=T.InterpolationMode.BICUBIC), T.RandomHorizontalFlip(),
        T.RandomApply([T.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8), T.RandomGrayscale(0.2),
        T.GaussianBlur(taps, (0.1, 2.0)), T.PILToTensor(),
    ])  # fmt: skip


def seconds(do: Callable[[], object]) -> float:
    begin = time.perf_counter()
    do()
    return time.perf_counter() - begin


def measured(side: int, size: int) -> dict[str, float]:
    """How many times as fast as the peer, over interleaved pairs."""
    n = 512 if size <= 64 else 64
    pictures = [np.random.default_rng(i).integers(0, 256, (side, side, 3), np.uint8) for i in range(n)]
    ragged, rows, view, pipeline = Ragged.of(pictures), np.arange(n), byol(size)[0], peer(size)
    photos = [Image.fromarray(picture) for picture in pictures]

    def ours() -> object:
        return views_of(view, ragged, rows, (0,), rows)

    def theirs() -> object:
        return [pipeline(photo) for photo in photos]

    ours()
    ratios, rates = [], []
    for _ in range(PAIRS):
        fast, slow = seconds(ours), seconds(theirs)
        ratios.append(slow / fast)
        rates.append(n / fast)
    return {
        "ratio": round(statistics.median(ratios), 2), "least": round(min(ratios), 2), "most": round(max(ratios), 2),
        "views_per_second": round(statistics.median(rates)),
    }  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    results = {f"{side}->{size}": measured(side, size) for side, size in CASES}
    for case, row in results.items():
        sys.stdout.write(f"{case:>9}: {row['ratio']}x Pillow + torchvision ({row['least']}-{row['most']})\n")
    path = Path(__file__).parent / "results" / f"views-{platform.node()}-{date.today()}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
