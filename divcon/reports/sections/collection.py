"""The collection: found, used, rejected with reasons, duplicates, sizes, odd images."""

import itertools

import numpy as np

from ...data.index.index import Index
from ...data.index.rejected import sample_rejected
from ..facts import RunFacts
from ..kept import Kept
from ..parts import Cell, Gallery, Plot, Section, Table
from ..plots import Series, bars
from .clusters import as_gallery

MOST_REJECTED = 20
SIDES = (0, 32, 64, 128, 256, 512, 1024, 2048, 4096)  # pixels of the short side


def collection_section(facts: RunFacts, kept: Kept | None) -> Section:
    """Return the section of the collection."""
    index = facts.index
    if index is None:
        return Section("collection", "The collection", ["The index of the collection is not in the folder of the run."])
    tables = [_counts(index), *_rejected(index), *_warnings(index)]
    groups = _groups(kept) if kept is not None else []
    return Section("collection", "The collection", [_where(facts)], [_sizes(index)], tables, groups=groups)


def _where(facts: RunFacts) -> str:
    places = ", ".join(facts.record.data) or "a place that the run does not name"
    return f"The images came from {places}. The files rejected.csv and duplicates.csv in the folder images of the run list all of these."


def _counts(index: Index) -> Table:
    rows: list[list[Cell]] = [
        ["found", index.found],
        ["used", index.used],
        ["duplicates", index.duplicates],
        ["rejected", index.rejected],
    ]
    return Table("Files", ["", "files"], [*rows, ["look like another image", index.near_duplicates]])


def _rejected(index: Index) -> list[Table]:
    if not index.rejected:
        return []
    reasons: list[list[Cell]] = [[reason, count] for reason, count in index.reasons.items()]
    examples: list[list[Cell]] = [
        [file.path, file.reason, file.detail] for file in sample_rejected(index, MOST_REJECTED)
    ]
    more = index.rejected - len(examples)
    rest = f"and {more:,} more: images/rejected.csv in the folder of the run" if more else ""
    return [
        Table("Rejected files by reason", ["reason", "files"], reasons),
        Table("Examples of rejected files", ["path", "reason", "detail"], examples, rest),
    ]


def _warnings(index: Index) -> list[Table]:
    found = index.image_warnings
    return (
        [Table("Of the used images", ["warning", "images"], [[name, count] for name, count in found.items()])]
        if found
        else []
    )


def _sizes(index: Index) -> Plot:
    short = np.minimum(index.widths, index.heights)
    counts, _ = np.histogram(short, [*SIDES, np.inf])
    names = [f"{low:,}-{high - 1:,}" for low, high in itertools.pairwise(SIDES)] + [f"{SIDES[-1]:,}+"]
    title = "Short side of the used images, in pixels"
    middle = f"{int(np.median(index.widths)):,} x {int(np.median(index.heights)):,}" if len(short) else "0 x 0"
    rows: list[list[Cell]] = [[name, int(count)] for name, count in zip(names, counts)]
    rows += [
        ["median width x height", middle],
        ["median bytes of a file", int(np.median(index.sizes)) if len(short) else 0],
    ]
    svg = bars("pixels", title, names, [Series("images", range(len(names)), counts.tolist())], "images")
    return Plot(
        title,
        f"Bars of the number of images; the image in the middle has {middle} pixels.",
        svg,
        Table(title, ["pixels", "images"], rows),
    )


def _groups(kept: Kept) -> list[Section]:
    groups = []
    odd = [as_gallery(kept, gallery) for gallery in kept.galleries("odd") if gallery.images]
    if odd:
        text = f"Among the {len(kept.record.paths):,} images of the sample. Odd is not wrong: look, and leave out by exclude= what does not belong."
        groups.append(Section("odd", "Odd images", [text], galleries=odd))
    copies, near = ([as_gallery(kept, gallery) for gallery in kept.galleries(kind)] for kind in ("copy", "near"))
    if copies:
        groups.append(
            _pairs("copies", "Files with the same bytes", "One of them is used, and the others are left out.", copies)
        )
    if near:
        groups.append(_pairs("near", "Images that look alike", "near_duplicates=drop uses one of them.", near))
    return groups


def _pairs(name: str, title: str, text: str, galleries: list[Gallery]) -> Section:
    return Section(name, title, [f"{text} The first groups:"], galleries=galleries)
