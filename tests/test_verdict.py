"""docs/results.md tells what the rows of the studies give."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest

from studies import held_out
from studies.instrument.draw import difference, share
from studies.instrument.rows import Row, Rows
from studies.many import page

LINES = (page.ROOT / "docs" / "results.md").read_text().replace("**", "").splitlines()
Setting = tuple[str, int, int, int]  # collection, size, width, passes
USUAL: tuple[Setting, ...] = (("openclipart", 32, 16, 30), ("mixture", 32, 16, 30))
SMALL: tuple[Setting, ...] = (
    ("fashion", 16, 8, 8), ("openclipart", 16, 8, 8), ("openclipart", 16, 8, 30), ("openclipart", 16, 8, 60),
    ("openclipart", 16, 8, 120), ("heap", 16, 8, 30), ("emoji", 16, 8, 240),
)  # fmt: skip
OF_MOCLR = {  # lines of the table of thirty passes, in its order
    "moclr, student's rate": "MoCLR, 15 passes, and 15 more from a second start (rate 0.016)",
    "moclr, restarted": "the same, the second part at rate 0.006",
    "own 0.5": "DnC, own 0.5",
    "dnc": "DnC, own 0",
    "random parts, own 0.5": "random parts of the same sizes, own 0.5",
    "one expert, own 0.5": "one expert on everything, own 0.5",
    "self, own 0.5": "no expert: the student learns from the base, own 0.5",
    "self": "no expert, own 0",
}
OF_SMALL = {  # and of that of longer trainings and many domains
    "moclr, student's rate": "MoCLR, a second start at half of the budget (rate 0.016)",
    "own 0.5": "DnC, own 0.5",
    "dnc": "DnC, own 0",
    "random parts, own 0.5": "random parts of the same sizes, own 0.5",
    "self, own 0.5": "no expert, own 0.5",
}
CLAIMS = {  # the begin of a line, and the two ways whose difference it tells
    "Table 3:": ("dnc", "moclr"),
    "Table 10: experts of random parts": ("random parts", "dnc"),
    "Table 10: experts on everything": ("one expert", "dnc"),
    "Table 11: base and experts": ("dnc", "self"),
    "Table 18:": ("short experts, own 0.5", "own 0.5"),
    "(a) ": ("own 0.5", "dnc"),
    "(a, g)": ("alike", "moclr"),
    "(b)": ("whitened targets", "dnc"),
    "(c)": ("moclr, classes", "moclr"),
    "(e)": ("objectives, own 0.5", "moclr"),
    "(f)": ("rounds 2, own 0.5", "own 0.5"),
    "K = 10": ("k 10, own 0.5", "own 0.5"),
    "a base of three quarters": ("base 3/4, own 0.5", "moclr"),
}
SMALL_CLAIMS = {  # the same, of 30 passes with views of 16 pixels
    "Table 19:": [("unit targets", "unit targets and predictions")],
    "(d)": [("moclr, groups", "moclr, student's rate")],
    "parts of equal sizes": [("balanced parts", "dnc"), ("hierarchical parts", "dnc")],
    "lessons with": [("balanced lessons", "dnc")],
    "the paper's shares": [("paper's shares, own 0.5", "own 0.5")],
    "a larger rate": [("moclr, larger rate", "moclr")],
}
SECOND_HALF = {  # lines of the table of what the second half of a budget gives
    "Open Clip Art, 30 passes": USUAL[0],
    "mixture, 30 passes": USUAL[1],
    "Fashion-MNIST, 8 passes": SMALL[0],
    "Open Clip Art, 8 passes": SMALL[1],
    "Open Clip Art, 30 passes, narrow": SMALL[2],
    "Open Clip Art, 60 passes": SMALL[3],
    "Open Clip Art, 120 passes": SMALL[4],
    "heap, 30 passes": SMALL[5],
    "emoji, 240 passes": SMALL[6],
}
HELD_OUT = {
    "DnC": "`recipe=dnc` (own 0.5)",
    "DnC, the student without a loss of its own": "DnC, own 0",
    "MoCLR, two starts": "MoCLR, two starts (`base.cycles=2`)",
}
SCORES = ("whitened", "linear")


@cache
def rows_of(setting: Setting) -> Mapping[tuple[str, int], dict[str, Any]]:
    """By way and seed."""
    found = page.settings(page.rows_of(page.ROWS))[setting]
    return {(row["line"], row["seed"]): row for row in found}


def told(pairs: Mapping[str, list[tuple[float, float]]]) -> str:
    """A difference as the page tells it, whitened 20-NN / linear; - where there is none."""
    texts = [difference(its).removesuffix(f" ({len(its)})") for its in pairs.values()]
    return " / ".join(texts).replace("+0.0", "0.0").replace("-0.0", "0.0") if all(texts) else "-"


def verdict(one: str, other: str, setting: Setting) -> str:
    return apart(by_seed(one, setting), by_seed(other, setting))


def over_base(way: str, setting: Setting) -> str:
    """How much better the result of a way is than MoCLR at half of the budget, which is the base of DnC."""
    divided = {**by_seed("own 0.5", setting), **by_seed("self, own 0.5", setting)}
    return apart(by_seed(way, setting), {seed: row["base"] for seed, row in divided.items()})


def by_seed(way: str, setting: Setting) -> dict[int, dict[str, Any]]:
    return {seed: row for (line, seed), row in rows_of(setting).items() if line == way}


def apart(ones: Mapping[int, dict[str, Any]], others: Mapping[int, dict[str, Any]]) -> str:
    """The difference of rows with the same seeds."""
    pairs = [(ones[seed], others[seed]) for seed in ones if seed in others]
    return told({name: [(page.score(a, name), page.score(b, name)) for a, b in pairs] for name in SCORES})


def line_of(begin: str) -> str:
    (line,) = (line for line in LINES if line.startswith(f"| {begin}"))
    return line


@pytest.mark.parametrize(("names", "settings"), [(OF_MOCLR, USUAL), (OF_SMALL, SMALL)])
def test_the_tables_of_gains_over_moclr_are_those_of_the_rows(
    names: Mapping[str, str], settings: tuple[Setting, ...]
) -> None:
    for way, name in names.items():
        cells = [verdict(way, "moclr", setting) for setting in settings]
        assert f"| {name} | {' | '.join(cells)} |" in LINES


def test_the_table_of_the_second_half_of_the_budget_is_that_of_the_rows() -> None:
    for name, setting in SECOND_HALF.items():
        cells = [over_base(way, setting) for way in ("moclr", "own 0.5", "self, own 0.5")]
        assert f"| {name} | {' | '.join(cells)} |" in LINES


def test_what_is_said_of_a_claim_or_a_way_begins_with_the_difference_that_the_rows_give() -> None:
    for begin, ways in CLAIMS.items():
        assert "; ".join(verdict(*ways, setting) for setting in USUAL) in line_of(begin)
    for begin, pairs in SMALL_CLAIMS.items():
        assert "; ".join(verdict(*ways, ("openclipart", 16, 8, 30)) for ways in pairs) in line_of(begin)


def test_the_held_out_table_tells_the_mean_over_collections_of_the_means_over_seeds() -> None:
    rows = {row.run: row for row in held_out_rows()}
    for line, name in HELD_OUT.items():
        cells = [told({score: held_out_means(rows, line, score)}) for score in SCORES]
        assert f"| {name} | {' | '.join(cells)} |" in LINES


def held_out_rows() -> list[Row]:
    """Those of the code that did all of them."""
    rows = Rows.read(page.ROOT / "studies" / "rows" / "held_out").rows
    codes = [row.code for row in rows]
    return [row for row in rows if row.code == max(codes, key=codes.count)]


def held_out_means(rows: Mapping[str, Row], line: str, score: str) -> list[tuple[float, float]]:
    """For each collection, of the line and of MoCLR that starts once, by the first labels."""
    runs = {(run.data, run.line, run.seed): rows[run.name] for run in held_out.runs()}
    return [
        (mean_of(runs, data, line, score), mean_of(runs, data, "MoCLR, one start", score)) for data in held_out.PASSES
    ]


def mean_of(runs: Mapping[tuple[str, str, int], Row], data: str, line: str, score: str) -> float:
    its = [runs[data, line, seed] for seed in held_out.SEEDS]
    return float(np.mean([share(row, "final", next(iter(row.scores["final"]["parts"])), score) for row in its]))
