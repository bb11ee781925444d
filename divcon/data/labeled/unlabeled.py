"""Images without labels, for the scores that need none."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import TooFewError, UsageError
from ...files.text import counted, printable
from ..images import open_images
from .layout import Split
from .scored import Scored

SAMPLE = 25_600  # images, at most, that are encoded: as many as RankMe takes


@dataclass(frozen=True, kw_only=True)
class Unlabeled(Scored):
    """A collection of which nothing is known; all of its images are in `train`."""

    truth = "none"


def open_unlabeled(
    folder: str | Path,
    *,
    split: Split = "auto",
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    cache: Path,
    workers: int | None = None,
) -> Unlabeled:
    """Return at most SAMPLE images of a folder, or of tar shards. UsageError for `split`, because all of them are used;
    TooFewError for one image."""
    if split != "auto":
        raise UsageError(
            "split=: scores that need no labels are of all images; leave split= away, or name a task that needs labels too"
        )
    images = open_images(folder, include=include, exclude=exclude, cache=cache, workers=workers)
    if len(images) < 2:
        raise TooFewError(f"{printable(str(folder))}: {counted(len(images), 'image')}; there is nothing to compare")
    # positions follow hashes, so the images at equal distances are a random sample
    sample = np.linspace(0, len(images) - 1, min(len(images), SAMPLE)).astype(np.int64)
    left_out = {"not_in_the_sample": len(images) - len(sample)}
    positions = np.arange(len(sample))
    return Unlabeled(images=images.subset(sample), train=positions, test=positions[:0], left_out=left_out)
