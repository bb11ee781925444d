"""Names of clusters from the words in the folders above their images."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from ..data.sources.names import folders_of

WORD = re.compile(r"[^\W\d_]{2,}")
MOST = 3  # words of a name
SHARE = 0.1  # of the images of a cluster that have the word, at least
LIFT = 1.3  # how many times as frequent as in the whole collection, at least
LONGEST = 24  # characters of a word in a name


def cluster_words(paths: Sequence[bytes], labels: Int64[np.ndarray, " n"], k: int) -> list[list[str]]:
    """Return for each of k clusters the folder words that are most typical of it; none where no word is.

    A word is typical if at least SHARE of the cluster's images have it, and it is LIFT times as frequent as in all images. The
    most typical adds most to the divergence of the cluster's words from those of all.
    """
    counts = [Counter[str]() for _ in range(k)]
    known: dict[bytes, list[str]] = {}
    for path, label in zip(paths, labels.tolist()):
        folder = path.rpartition(b"/")[0]
        if folder not in known:
            known[folder] = sorted(words_of(path))
        counts[label].update(known[folder])
    total, sizes = sum(counts, Counter[str]()), np.bincount(labels, minlength=k)
    return [_typical(counts[i], int(sizes[i]), total, len(paths)) for i in range(k)]


def words_of(path: bytes) -> set[str]:
    """Return the words in the names of the folders above a file, in small letters, without numbers."""
    return {word.casefold()[:LONGEST] for folder in folders_of(path) for word in WORD.findall(folder)}


def _typical(counts: Counter[str], size: int, total: Counter[str], n: int) -> list[str]:
    scored = []
    for word, count in counts.items():
        inside, overall = count / size, total[word] / n
        if inside >= SHARE and inside >= LIFT * overall:
            scored.append((-inside * float(np.log(inside / overall)), word))
    return [word for _, word in sorted(scored)[:MOST]]


def cluster_names(words: Sequence[Sequence[str]]) -> list[str]:
    """Return a name for each cluster: its number, and its words if it has any."""
    return [f"cluster {i}: {', '.join(found)}" if found else f"cluster {i}" for i, found in enumerate(words)]
