"""docs/performance.md and its picture, from the newest result of each bench.

python -m benchmarks.draw
"""

import ast
import json
from pathlib import Path
from typing import Any

from .gpu import page as gpu
from .pairs import RESULTS, Row, met

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "pictures" / "performance.svg"
ORDER = ("step", "profile", "views", "jpeg", "kmeans", "knn", "probe", "dnc", "memory", "allocator", "startup")
WORDS = {True: "yes", False: "**no**", None: ""}
PLAN = "plan.json"  # docs/scaling.md has it
MET, MISSED, INK = "#0072B2", "#D55E00", "#24292f"  # told apart by every eye; and the marks differ too

Result = dict[str, Any]

HEAD = """# Performance

<!-- Drawn by `python -m benchmarks.draw` from benchmarks/results: change the benches, not this page. -->

This page compares the speed and the memory of divcon with those of other packages. Each figure is the median of
interleaved pairs in one run: divcon and the other package take turns, and the order changes from pair to pair. The least
and the most of the pairs stand in brackets. A ratio of 2 means that divcon is twice as fast, unless the table names
another unit. Seconds on one machine say little about another machine, so there are few of them.

To measure again on your machine, with nothing else running (this installs the other packages, and takes about an hour on
two cores):

```bash
make bench
```
"""


def newest(folder: Path = RESULTS) -> list[Result]:
    """The last result of each bench, in the order of the page."""
    files = [file for file in sorted(folder.glob("*.json")) if file.name not in (gpu.RESULT.name, PLAN)]
    found = [json.loads(file.read_text()) for file in files]
    last = {result["what"]: result for result in sorted(found, key=lambda result: result["date"])}
    return sorted(last.values(), key=lambda result: (place(result["what"]), result["what"]))


def place(what: str) -> int:
    return ORDER.index(what) if what in ORDER else len(ORDER)


def page(results: list[Result]) -> str:
    parts = [HEAD, missed(results), "![Ratios and aims](pictures/performance.svg)\n"]
    return "\n".join([*parts, *[section(result) for result in results], gpu.section()])


def missed(results: list[Result]) -> str:
    """The rows that did not reach their aim; they come first."""
    rows = [row for result in results for row in result["rows"]]
    short = [f"- {row['case']}: {figure(row)}, aim {aim(row)}" for row in rows if met(row) is False]
    aims = sum(row["aim"] is not None for row in rows)
    said = f"{aims - len(short)} of {aims} aims are met." + (" Missed:\n" if short else "")
    without = [what for what in ORDER if what not in {result["what"] for result in results}]
    return "\n".join([said, *short, *[f"\nNot measured yet: {', '.join(without)}.\n"][: len(without)], ""])


def section(result: Result) -> str:
    what = result["what"]
    table = ["| case | against | figure | aim | met | |", "|---|---|---|---|---|---|", *map(cells, result["rows"])]
    again = f"{machine(result)}\n\n`python -m benchmarks.bench_{what}` measures it again."
    return "\n".join([f"## {title(what)}\n", about(what), "", again, "", *table, ""])


def cells(row: Row) -> str:
    words = [row["case"], row["against"], figure(row), aim(row), WORDS[met(row)], row["note"]]
    return f"| {' | '.join(word.replace('|', '/') for word in words)} |"


def figure(row: Row) -> str:
    """The median, with the least and the most."""
    value = f"{row['ratio']:.3g}{unit(row)}"
    return value if row["low"] == row["high"] else f"{value} ({row['low']:.3g} to {row['high']:.3g})"


def aim(row: Row) -> str:
    if row["aim"] is None:
        return ""
    return f"{'at most' if row.get('at_most') else 'at least'} {row['aim']:g}{unit(row)}"


def unit(row: Row) -> str:
    said = row.get("unit", "x")
    return said if said in ("x", "%") else f" {said}"


def title(what: str) -> str:
    """The first sentence of the docstring of the bench."""
    return document(what).split("\n\n")[0].replace("\n", " ").rstrip(".")


def about(what: str) -> str:
    """The rest of the docstring of the bench, without its commands."""
    parts = [part for part in document(what).split("\n\n")[1:] if "python -m" not in part]
    return "\n\n".join(parts)


def document(what: str) -> str:
    """The docstring of the bench, without importing it and its peers."""
    return ast.get_docstring(ast.parse((ROOT / "benchmarks" / f"bench_{what}.py").read_text())) or what


def machine(result: Result) -> str:
    of, library = result["machine"], result["machine"]["versions"]
    flags = ", ".join(of["flags"]) or "no vector units known"
    versions = ", ".join(f"{name} {version}" for name, version in library.items())
    return (
        f"{result['date']}, {of['cpu']} ({of['kind']}), {of['cores']} cores, {of['memory_gb']} GB, {flags}; {of['os']}, "
        f"Python {of['python']}; {versions}. Load at the start {of['load_at_start'][0]}; commit {of['commit'] or 'unknown'}."
    )


def picture(results: list[Result], file: Path = PICTURE) -> None:
    """Every ratio that has an aim: its median as a dot, the pairs as a line, the aim as a bar across it."""
    from matplotlib import pyplot

    rows = [row for result in results for row in result["rows"] if row["aim"] is not None and unit(row) == "x"]
    settings = {"svg.fonttype": "none", "svg.hashsalt": "divcon", "font.size": 9, "text.color": INK}
    with pyplot.rc_context(settings):
        figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.3 * len(rows)), layout="constrained", facecolor="white")
        for height, row in enumerate(reversed(rows)):
            mark(axes, height, row)
        label(axes, list(reversed(rows)))
        figure.savefig(file, metadata={"Date": None})
        pyplot.close(figure)


def mark(axes: Any, height: int, row: Row) -> None:
    color, shape = (MET, "o") if met(row) else (MISSED, "X")
    axes.plot([row["low"], row["high"]], [height, height], color=color, linewidth=1.5)
    axes.plot(row["ratio"], height, shape, color=color, markersize=7)
    axes.plot([row["aim"]] * 2, [height - 0.35, height + 0.35], color=INK, linewidth=2)


def label(axes: Any, rows: list[Row]) -> None:
    """Write the cases on the left, and use a logarithmic scale."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    axes.set_yticks(range(len(rows)), [f"{row['case']}{' (at most)' if row.get('at_most') else ''}" for row in rows])
    axes.axvline(1, color=INK, linewidth=0.8, linestyle=":")
    axes.grid(axis="x", color="#d0d7de", linewidth=0.6)
    axes.set_title("times as fast as the peer: median, least and most; | is the aim; o met, X missed", fontsize=9)
    axes.spines[["top", "right", "left"]].set_visible(False)


def main() -> None:
    results = newest()
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    picture(results)
    PAGE.write_text(page(results))


if __name__ == "__main__":
    main()
