"""Collections of the studies, packed: a file for each source."""

from collections import defaultdict
from pathlib import Path, PurePosixPath

import numpy as np

from divcon.api import run_plan
from divcon.config import unknown_name
from divcon.data.index.files import Files
from divcon.data.pixels.pixel_cache import open_pixels
from divcon.errors import UsageError
from divcon.nets.preprocessing import SHORT_SIDE

from ..instrument.piles import PILES, Labels, labeled
from .piles import PACKED_FOR, LabelSet, pack

MOST_CLASSES = 60  # of which a linear probe is fast


def pack_pile(name: str, cache: Path, out: Path, apart: bool = False) -> None:
    """Write NAME.npz or, with `apart`, a file for each source of a collection whose label sets are of different sources."""
    if name not in PILES:
        raise UsageError(unknown_name("collection", name, [*PILES]))
    pile = PILES[name]
    if apart and not pile.apart:
        raise UsageError(f"apart=1: {name} has no sources with labels of their own; leave apart= away")
    options = {
        "recipe": "moclr",
        "encoder": "slim10",
        "size": PACKED_FOR,
        "epochs": 1,
        "cache": str(cache),
        "device": "cpu",
    }
    order = run_plan.prepare_run(pile.folder(name, cache), out / "nothing", options)
    pixels = open_pixels(order.images, SHORT_SIDE * PACKED_FOR, cache=cache, cache_gb=8, workers=2)
    labels = {its: labeled(order.images, class_of) for its, class_of in pile.labels.items()}
    sources = _sources(Files.of(order.images.index)) if apart else {name: np.arange(len(order.images))}
    out.mkdir(parents=True, exist_ok=True)
    for source, positions in sources.items():
        packed, rows = pixels.read(positions)
        its = {at: found for at, found in labels.items() if not apart or at == source}
        pack(
            packed, np.asarray(rows), {at: _moved(found, positions) for at, found in its.items()}, out / f"{source}.npz"
        )


def _sources(files: Files) -> dict[str, np.ndarray]:
    """The pictures below each outermost folder; one that lies below several is the first's."""
    of: dict[int, str] = {}
    for path, picture in zip(files.paths, files.positions):
        of.setdefault(int(picture), PurePosixPath(path.decode(errors="replace")).parts[0])
    found = defaultdict(list)
    for picture, source in sorted(of.items()):
        found[source].append(picture)
    return {source: np.array(pictures) for source, pictures in found.items()}


def _moved(labels: Labels, positions: np.ndarray) -> LabelSet:
    """The labels of some of the pictures, by their new positions."""
    inside = np.isin(labels.positions, positions)
    at = np.searchsorted(positions, labels.positions[inside])
    return LabelSet(at, labels.classes[inside], len(labels.names) <= MOST_CLASSES)
