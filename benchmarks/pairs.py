"""Interleaved pairs: ours and theirs by turns, so that a machine that slows down slows both; and what is kept of them.

A bench is a module bench_*.py with `measure() -> Iterator[Row]` and a `main()` that saves it:

    from .pairs import Row, interleaved, save

    def measure() -> Iterator[Row]:
        yield interleaved(ours, theirs).row("k-means, K = 5", "faiss-cpu", aim=1.1)

    def main() -> None:
        save("kmeans", measure())     # prints each row as it comes, then writes results/kmeans-<machine>-<date>.json
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from .machines import machine, short_name

Row = dict[str, Any]
Work = Callable[[], object]
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Ratio:
    """The speed of ours over theirs: the median over the pairs, the least and the most of them, and both medians in
    seconds, which mean something beside one another only."""

    ratio: float
    low: float
    high: float
    pairs: int
    ours: float
    theirs: float

    def row(self, case: str, against: str, aim: float | None = None, note: str = "", **more: Any) -> Row:
        seconds = {"ours_seconds": rounded(self.ours), "theirs_seconds": rounded(self.theirs), "pairs": self.pairs}
        return row(case, against, self.ratio, self.low, self.high, aim, note, **seconds, **more)


def row(
    case: str, against: str, ratio: float, low: float, high: float, aim: float | None = None, note: str = "",
    **more: Any,
) -> Row:  # fmt: skip
    """A line of a bench's table. `unit` is "x" unless `more` says another; with `at_most=True` the aim is a ceiling."""
    figures = {"ratio": rounded(ratio), "low": rounded(low), "high": rounded(high)}
    return {"case": case, "against": against, **figures, "aim": aim, "note": note, **more}


def condition(case: str, against: str, value: float, aim: float, unit: str, *, at_most: bool) -> Row:
    """A line for what a ratio is worth nothing without: that both sides found the same."""
    return row(case, against, value, value, value, aim, unit=unit, at_most=at_most)


def excess(ours: float, theirs: float) -> float:
    """The excess of ours over theirs, in percent of theirs."""
    return 100 * (ours / theirs - 1)


def rounded(value: float) -> float:
    """Four digits: no clock here is better."""
    return float(f"{value:.4g}")


def seconds(do: Work) -> float:
    begin = time.perf_counter()
    do()
    return time.perf_counter() - begin


def interleaved(ours: Work, theirs: Work, pairs: int = 7, warmup: int = 1) -> Ratio:
    """Ours and theirs timed by turns, the first to go changing from pair to pair, after `warmup` untimed turns of each."""
    return over(*by_turns([ours, theirs], pairs, warmup))


def by_turns(works: Sequence[Work], rounds: int, warmup: int = 1) -> list[list[float]]:
    """The seconds of each work in each round; another one begins each round."""
    taken: list[list[float]] = [[0.0] * rounds for _ in works]
    for i in range(-warmup, rounds):
        for turn in range(len(works)):
            at = (i + turn) % len(works)
            spent = seconds(works[at])
            if i >= 0:
                taken[at][i] = spent
    return taken


def over(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """The ratios of the seconds of pairs."""
    ratios = [slow / fast for fast, slow in zip(ours, theirs, strict=True)]
    middle = statistics.median
    return Ratio(middle(ratios), min(ratios), max(ratios), len(ratios), middle(ours), middle(theirs))


def met(row: Row) -> bool | None:
    """True if the row's figure reaches its aim; None where it has no aim."""
    if row["aim"] is None:
        return None
    return bool(row["ratio"] <= row["aim"] if row.get("at_most") else row["ratio"] >= row["aim"])


def line(row: Row) -> str:
    """A row for the terminal."""
    unit = row.get("unit", "x")
    aim = "" if row["aim"] is None else f"; aim {'<=' if row.get('at_most') else '>='} {row['aim']:g}"
    verdict = {True: ", met", False: ", MISSED", None: ""}[met(row)]
    spread = f"({row['low']:g} to {row['high']:g}{aim}{verdict})"
    return f"{row['case']}, against {row['against']}: {row['ratio']:g} {unit} {spread} {row['note']}".rstrip()


def show(row: Row) -> None:
    sys.stdout.write(f"{line(row)}\n")
    sys.stdout.flush()


def save(what: str, rows: Iterable[Row]) -> Path:
    """Print each row as it comes, then keep them all with the machine they were measured on."""
    kept, described = [], machine()
    for found in rows:
        show(found)
        kept.append(found)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{what}-{short_name()}-{date.today()}.json"
    result = {"what": what, "date": str(date.today()), "machine": described, "rows": kept}
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path
