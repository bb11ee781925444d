"""docs/results/ways.md, from the rows of all searches."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from divcon.errors import DataError
from divcon.files.atomic import write_text
from divcon.files.text import printable

from ..instrument.draw import SCORES, difference, joined, spread
from . import plans
from .piles import PACKED_FOR
from .plans import Row

ROOT = Path(__file__).parents[2]
ROWS, PAGE = ROOT / "studies" / "rows" / "many", ROOT / "docs" / "results" / "ways.md"
Setting = tuple[str, int, int, float]  # collection, size, width, passes
NAMES = {
    "openclipart": "Open Clip Art",
    "mixture": "Mixture",
    "heap": "Heap",
    "fashion": "Fashion-MNIST",
    "emoji": "Emoji",
    "made": "Made",
}
KNOWN = {
    "base": "base",
    "moclr": "MoCLR, twice the base's budget",
    "experts": "each cluster's own expert",
    "student": "student",
}
LAYERS = {"pool": "the pool", "hidden": "the projector's hidden layer"}
PAIRS = (  # differences that a claim of the paper, or of a way, is about
    ("clusters less random parts", "dnc", "random parts"),
    ("clusters less random parts, own 0.5", "own 0.5", "random parts, own 0.5"),
    ("clusters less one expert on everything", "dnc", "one expert"),
    ("clusters less one expert on everything, own 0.5", "own 0.5", "one expert, own 0.5"),
    ("experts less none", "dnc", "self"),
    ("experts less none, own 0.5", "own 0.5", "self, own 0.5"),
    ("own 0.5 less none", "own 0.5", "dnc"),
    ("whitened targets less standardized", "whitened targets", "dnc"),
    ("predictions of length one less free ones (Table 19)", "unit targets and predictions", "unit targets"),
    ("balanced parts less clusters", "balanced parts", "dnc"),
    ("hierarchical parts less clusters", "hierarchical parts", "dnc"),
    ("lessons with equally many images of each cluster less all", "balanced lessons", "dnc"),
    ("k 10 less k 5", "k 10, own 0.5", "own 0.5"),
    ("two rounds less one", "rounds 2, own 0.5", "own 0.5"),
    ("a longer student, shorter experts", "short experts, own 0.5", "own 0.5"),
    ("MoCLR, a second start at the student's rate, less own 0.5", "moclr, student's rate", "own 0.5"),
    ("the same with groups inside a batch less without", "moclr, groups", "moclr, student's rate"),
)
HOW = (
    "Scores are accuracies in percent on validation images: mean ± standard deviation over seeds, of Open Clip Art by its outermost",
    "folders, of other collections the mean over their sources. Δ is the difference to MoCLR at the same number of images with the same",
    "seed: mean ± standard error (seeds). Lines in italics are controls: “self” has no expert, “one expert” is on everything, “moclr,",
    "restarted” and “moclr, student's rate” are MoCLR with a second start at the rates 0.006 and 0.016. “own” is the weight of the",
    "student's own contrastive loss, 0 where it is not named. `python -m studies.many draw` writes this page from the rows in",
    "studies/rows/many, and `studies/many/plans.py` says what each line is. The trainings are those of `divcon run` in bf16, on a GPU many",
    "at once, on processors with views of 16 pixels: a test compares their steps with the training loop's, in fp32 on a CPU. Two things",
    "differ: the views of an image are the same in each training of a collection, and come again after `EPOCHS` (plans.py); a small",
    "cluster's expert has the batch of the others.",
)


def draw() -> None:
    """Write the page."""
    rows = rows_of(ROWS)
    machines = sorted({f"{row['device']}, torch {row['torch']}" for row in rows})
    lines = [
        "# Ways to divide, and their controls",
        "",
        *HOW,
        "",
        f"{len(rows)} experiments on {'; '.join(machines)}.",
        "",
    ]
    for setting, its in settings(rows).items():
        pile, size, width, passes = setting
        lines += [
            f"## {NAMES.get(pile, pile)}, {size} pixels, width {width}, {passes:g} passes",
            "",
            *table(its),
            "",
            *pairs(its),
            *knowledge(its),
            *layers(its),
        ]
    write_text(PAGE, "\n".join(lines).rstrip() + "\n")


def rows_of(folder: Path) -> list[Row]:
    """The rows of all files. DataError for two rows of one experiment."""
    files = {file: plans.read(file) for file in sorted(folder.glob("*.jsonl"))}
    first: dict[tuple[object, ...], Path] = {}
    for file, its in files.items():
        for row in its:
            if (name := plans.name_of(row)) in first:
                raise DataError(
                    f"{name} has a row in {printable(first[name])} and one in {printable(file)}; remove one of them"
                )
            first[name] = file
    return [row for its in files.values() for row in its]


def settings(rows: Sequence[Row]) -> dict[Setting, list[Row]]:
    """The rows by collection, size, width and budget: those that have MoCLR's."""
    found: dict[Setting, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["pile"], row.get("size", PACKED_FOR), row["width"], row["passes"]].append(row)
    return {key: its for key, its in sorted(found.items()) if any(row["line"] == "moclr" for row in its)}


def score(row: Row, name: str) -> float:
    """In percent, the mean over the label sets that have a linear probe."""
    sets = [its["validation"] for its in row["labels"].values() if "linear" in its["validation"]]
    return 100 * float(np.mean([its[name] for its in sets]))


def worth(row: Row) -> float:
    """The mean of whitened 20-NN and the linear probe, by which lines are ordered."""
    return (score(row, "whitened") + score(row, "linear")) / 2


def table(rows: Sequence[Row]) -> list[str]:
    """A line for each way; those with the largest gain first."""
    moclr = {row["seed"]: row for row in rows if row["line"] == "moclr"}
    heads = ["", *SCORES.values(), *(f"Δ {name}" for name in SCORES.values()), "seeds", "images"]
    order = sorted(dict.fromkeys(row["line"] for row in rows), key=lambda line: -_gain(line, rows, moclr))
    return [joined(heads), "|---|" + "---:|" * (len(heads) - 1), *(_line(line, rows, moclr) for line in order)]


def _gain(line: str, rows: Sequence[Row], moclr: dict[int, Row]) -> float:
    its = [row for row in rows if row["line"] == line and row["seed"] in moclr]
    return float(np.mean([worth(row) - worth(moclr[row["seed"]]) for row in its])) if its else -np.inf


def _line(line: str, rows: Sequence[Row], moclr: dict[int, Row]) -> str:
    its = [row for row in rows if row["line"] == line]
    paired = [(row, moclr[row["seed"]]) for row in its if row["seed"] in moclr and line != "moclr"]
    gains = [difference([(score(a, name), score(b, name)) for a, b in paired]) for name in SCORES]
    name = f"*{line}*" if line in plans.CONTROLS else line
    return joined(
        [
            name,
            *(spread([score(row, s) for row in its]) for s in SCORES),
            *gains,
            str(len(its)),
            f"{its[0]['images']:,}",
        ]
    )


def pairs(rows: Sequence[Row]) -> Iterator[str]:
    """Differences of two ways by the same seeds."""
    found = {(row["line"], row["seed"]): row for row in rows}
    lines = []
    for told, one, other in PAIRS:
        seeds = sorted(seed for line, seed in found if line == one and (other, seed) in found)
        its = [(found[one, seed], found[other, seed]) for seed in seeds]
        if its:
            lines.append(joined([told, *(difference([(score(a, s), score(b, s)) for a, b in its]) for s in SCORES)]))
    if lines:
        yield from (
            "Of two ways with the same seeds:",
            "",
            joined(["", *SCORES.values()]),
            "|---|---:|---:|---:|",
            *lines,
            "",
        )


def knowledge(rows: Sequence[Row]) -> Iterator[str]:
    """Whitened neighbors within each part, and encoders side by side."""
    for line in ("dnc", "random parts"):
        its = [row for row in rows if row["line"] == line and "within" in row]
        if its:
            yield from (
                f"Within the parts of “{line}”, whitened 20-NN among the images of one part alone, and base and experts side by side:",
                "",
            )
            yield from ("| | within | whitened 20-NN | linear |", "|---|---:|---:|---:|")
            for name, told in KNOWN.items():
                yield joined([told, spread([_within(row, name) for row in its]), "", ""])
            for kind, told in {"wide": "side by side", "narrow": "side by side, as wide as one by PCA"}.items():
                sides = [{"labels": row["side_by_side"][kind]["labels"]} for row in its]
                yield joined([told, "", *(spread([score(side, s) for side in sides]) for s in ("whitened", "linear"))])
            yield ""


def layers(rows: Sequence[Row]) -> Iterator[str]:
    """The layers of MoCLR as what to divide by (DnC, Table 6)."""
    its = [{layer: _divides(row, layer) for layer in LAYERS} for row in rows if "divides" in row]
    if its:
        told = [f"{name} {spread([row[layer] for row in its])}" for layer, name in LAYERS.items()]
        apart = difference([(row["hidden"], row["pool"]) for row in its])
        yield from (
            f"As many clusters as classes, by a layer of MoCLR, tell the class of an image: {', '.join(told)}; the difference is {apart}.",
            "",
        )


def _divides(row: Row, layer: str) -> float:
    return 100 * float(np.mean([its[layer] for its in row["divides"].values()]))


def _within(row: Row, name: str) -> float:
    sets = [its for label, its in row["within"].items() if "linear" in row["labels"][label]["validation"]]
    return 100 * float(np.mean([its[name] for its in sets]))
