"""Maps of made pictures, for tests of the report."""

import io

import numpy as np
from jaxtyping import Float16, Int64

from divcon.clustering.features import Features
from divcon.data.synthetic import KINDS, draw_image
from divcon.reports.map import ImageMap, draw_map
from divcon.reports.sample import Sample
from divcon.reports.thumbnails import thumbnail

HOSTILE = [
    "<script>alert(1)</script>.png", "</script><img src=x onerror=alert(2)>.png", '"><svg onload=alert(3)>.png',
    "{{ 7 * 7 }}.png", "javascript:alert(4)", "a\\u2028b.png", "'; alert(5); '.png", "<!--<script>.png", "x" * 400 + ".png",
]  # fmt: skip


def made_features(n: int, k: int, d: int = 24) -> tuple[Float16[np.ndarray, "n d"], Int64[np.ndarray, " n"]]:
    """Return features around k points, and the cluster of each."""
    rng = np.random.default_rng(0)
    labels = np.sort(rng.integers(k, size=n))
    x = rng.normal(size=(k, d))[labels] + 0.8 * rng.normal(size=(n, d))
    order = rng.permutation(n)
    return x.astype(np.float16)[order], labels[order]


def made_thumbnails(labels: Int64[np.ndarray, " n"], different: int = 40) -> list[bytes]:
    """Return a WebP file for each image; of a cluster, `different` ones are drawn."""
    drawings = list(KINDS.values())

    def drawn(label: int, number: int) -> bytes:
        encoded = io.BytesIO()
        pixels = draw_image(drawings[label % len(drawings)], np.random.default_rng((label, number)), 96)
        thumbnail(pixels, 112).save(encoded, "WEBP", quality=72)
        return encoded.getvalue()

    kept = {(label, j): drawn(label, j) for label in np.unique(labels).tolist() for j in range(different)}
    return [kept[label, i % different] for i, label in enumerate(labels.tolist())]


def made_map(n: int = 4000, k: int = 10, *, hostile: bool = False, pictures: bool = True) -> ImageMap:
    """Return a map of n made pictures in k clusters; `hostile` gives them names that are markup."""
    x, labels = made_features(n, k)
    numbers = range(n)
    paths = [HOSTILE[i % len(HOSTILE)] if hostile else f"kind_{labels[i]}/{i:05}.png" for i in numbers]
    names = [HOSTILE[c % len(HOSTILE)] if hostile else f"cluster {c}" for c in range(k)]
    sides = np.random.default_rng(1).integers(48, 2000, (2, n)).astype(np.int32)
    thumbnails = made_thumbnails(labels) if pictures else None
    sizes = np.arange(1000, 1000 + 37 * n, 37)
    sample = Sample(50_000, np.arange(n), x, labels, names, paths, sides[0], sides[1], sizes, thumbnails)
    return draw_map(sample, Features.of(x))
