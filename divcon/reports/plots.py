"""Plots as SVG that follows the colors of the page: text stays text, and every color is a variable of the style sheet.

matplotlib writes the same bytes for the same numbers: no date, and names of parts by a fixed salt.
"""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, SOFT, LINE = "#010101", "#020202", "#030303"  # they stand for variables of the style sheet
SERIES = [f"#0a0a0{i}" for i in range(8)]
VARIABLES = {
    INK: "var(--ink)",
    SOFT: "var(--soft)",
    LINE: "var(--line)",
    **{c: f"var(--c{i})" for i, c in enumerate(SERIES)},
}
DASHES = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)), (0, (1, 1)), (0, (3, 1, 1, 1))]
HATCHES = ["", "///", "...", "xx"]
SIZE = (7.0, 2.8)  # inches
STYLE: Any = {  # matplotlib types each name of a setting
    "svg.fonttype": "none", "svg.hashsalt": "divcon", "font.family": "sans-serif", "font.size": 10,
    "text.color": INK, "axes.labelcolor": SOFT, "axes.edgecolor": LINE, "xtick.color": SOFT, "ytick.color": SOFT,
    "axes.facecolor": "none", "figure.facecolor": "none", "grid.color": LINE, "axes.grid": True, "axes.grid.axis": "y",
    "grid.linewidth": 0.6, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "text.parse_math": False, "axes.axisbelow": True, "hatch.color": INK, "hatch.linewidth": 0.6,
}  # fmt: skip


@dataclass(frozen=True)
class Series:
    """A named line of points, or a row of bars."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def lines(name: str, title: str, series: Sequence[Series], x: str, y: str, *, ticks: Sequence[float] = ()) -> Markup:
    """Return a plot of lines; each has a color and a dash pattern. `ticks` are those of x. `name` makes the ids of the plot its own."""

    def draw(axes: "Axes") -> None:
        for i, line in enumerate(series):
            marker = "o" if len(line.x) < 20 else ""
            axes.plot(
                line.x,
                line.y,
                color=SERIES[i % 8],
                linestyle=DASHES[i % 8],
                marker=marker,
                markersize=4,
                label=line.name,
            )
        if ticks:
            axes.set_xticks(ticks)
        axes.set_xlabel(x)
        axes.set_ylabel(y)

    return _svg(name, title, draw, legend=len(series) > 1)


def bars(name: str, title: str, groups: Sequence[str], series: Sequence[Series], y: str) -> Markup:
    """Return a plot of bars: for each group a bar of each series, with a color and a hatch."""

    def draw(axes: "Axes") -> None:
        width = 0.8 / len(series)
        for i, row in enumerate(series):
            at = [g + (i - (len(series) - 1) / 2) * width for g in range(len(groups))]
            axes.bar(at, row.y, width * 0.92, color=SERIES[i % 8], hatch=HATCHES[i % 4], label=row.name)
        axes.set_xticks(
            range(len(groups)), list(groups), rotation=90 if len(groups) > 12 or len("".join(groups)) > 60 else 0
        )
        axes.set_ylabel(y)

    return _svg(name, title, draw, legend=len(series) > 1)


def _svg(name: str, title: str, draw: Callable[["Axes"], None], *, legend: bool) -> Markup:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        if legend:
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        file = io.StringIO()
        figure.savefig(
            file, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    return _for_page(file.getvalue(), name, title)


def _for_page(svg: str, name: str, title: str) -> Markup:
    """Return the SVG with ids of its own, colors by variables, and a title for screen readers."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(url\(|href=")#', rf"\1#{name}-", svg)
    for color, variable in VARIABLES.items():
        svg = svg.replace(color, variable)
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" HEAD>', svg, count=1)
    head = 'role="img" aria-labelledby="{0}-title" xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return Markup(
        svg.replace("HEAD>", f'{head.format(name)}><title id="{name}-title">{escape(title)}</title>', 1).strip()
    )
