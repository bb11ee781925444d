"""The page of a study, from its rows alone: a table for each part of the images, collection and encoder."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .rows import Row, alike
from .table import Run, Study
from .watch import ALONE

SCORES = {"knn": "20-NN", "whitened": "whitened 20-NN", "linear": "linear"}
Pair = tuple[Row, Row]


def page(study: Study, rows: Sequence[Row], changes: Mapping[str, Any] | None = None) -> str:
    """The whole page."""
    asked = {run.name: run for run in study.runs}
    ours = [row for row in rows if row.run in asked and alike(row.asked, asked[row.run].asked)]
    command = " ".join([f"python -m studies {study.name} draw", *(f"{k}={v}" for k, v in (changes or {}).items())])
    lines = [
        f"# Study: {study.name}",
        "",
        study.about,
        "",
        f"Written by `{command}` from {_rows(ours, rows)}.",
        "",
        *HOW,
        "",
    ]
    for part in sorted({row.part for row in ours}, reverse=True):
        for table in dict.fromkeys(run.table for run in study.runs):
            runs = [run for run in study.runs if run.table == table]
            mine = [row for row in ours if row.part == part and row.run in {run.name for run in runs}]
            if mine:
                lines += [f"## {table}: {part} images", "", *Table(runs, mine).drawn(), ""]
    return "\n".join([*lines, *_machines(ours)]).rstrip() + "\n"


HOW = (
    "Scores are accuracies in percent: mean ± standard deviation over the finished seeds. Δ is the difference to the named line. It",
    "is computed for each seed, only between rows of one processor, one code and the same images: mean ± standard error (pairs).",
    "The whitening is fitted on the whole collection without labels. The images are those shown over all stages, with a base that",
    "other runs use too. The seconds are those of all stages on one thread: the mean of the runs beside which nothing else ran on",
    "the machine.",
)


def _rows(ours: Sequence[Row], all_rows: Sequence[Row]) -> str:
    others = len(all_rows) - len(ours)
    return f"{len(ours)} rows" + (f" ({others} more are of runs that the study no longer asks for)" if others else "")


@dataclass(frozen=True)
class Table:
    """The lines of a table, and the rows that there are for them."""

    runs: Sequence[Run]
    rows: Sequence[Row]

    def drawn(self) -> list[str]:
        notes = list[str]()
        lines = [line for name in dict.fromkeys(run.line for run in self.runs) for line in self._lines(name, notes)]
        heads = [
            "",
            "labels",
            *SCORES.values(),
            *(f"Δ {score}" for score in SCORES.values()),
            "to",
            "seeds",
            "images",
            "seconds",
        ]
        body = [joined(heads), "|---|---|" + "---:|" * 6 + "---|" + "---:|" * 3, *lines]
        return [*body, *([""] if notes else []), *(f"{i}. {note}" for i, note in enumerate(notes, 1))]

    def _lines(self, line: str, notes: list[str]) -> Iterator[str]:
        """One for each label set of a line's encoder, and of its base."""
        of_line = [run for run in self.runs if run.line == line]
        chosen = self._one_a_seed(of_line)
        if not chosen:
            return
        mark = _mark(chosen, notes)
        for encoder in ("base", "final"):
            if all(encoder in row.scores for row in chosen):
                name = f"{line}{mark}" if encoder == "final" else f"{line}: its base"
                yield from self._labels(name, encoder, of_line, chosen, notes)

    def _labels(
        self, name: str, encoder: str, runs: Sequence[Run], chosen: Sequence[Row], notes: list[str]
    ) -> Iterator[str]:  # fmt: skip
        against, pairs = runs[0].against if encoder == "final" else None, list[Pair]()
        if against:
            pairs = self._pairs(runs, against)
        final = encoder == "final"
        images = f"{np.mean([row.shown['all' if final else 'base'] for row in chosen]):,.0f}"
        seconds = _seconds(name, chosen, notes) if final and chosen[0].shown["all"] else ""
        for at, labels in enumerate(_labels_of(chosen, encoder)):
            scores = [spread([share(row, encoder, labels, score) for row in chosen]) for score in SCORES]
            less = [
                difference([(share(a, encoder, labels, score), share(b, encoder, labels, score)) for a, b in pairs])
                for score in SCORES
            ]
            cost = [images, seconds] if at == 0 else ["", ""]
            yield joined([name if at == 0 else "", labels, *scores, *less, against or "", str(len(chosen)), *cost])

    def _one_a_seed(self, runs: Sequence[Run]) -> list[Row]:
        """A row for each seed that is done: where several machines have it, of the group that has most of the table."""
        preferred = self._groups()
        of_seed = {run.seed: [row for row in self.rows if row.run == run.name] for run in runs}
        return [
            min(rows, key=lambda row: (preferred.index(row.group), row.file())) for rows in of_seed.values() if rows
        ]

    def _pairs(self, runs: Sequence[Run], against: str) -> list[Pair]:
        """One for each seed of which both are there in one group."""
        pairs = []
        for run in runs:
            other = [r.name for r in self.runs if (r.line, r.seed) == (against, run.seed)]
            mine, theirs = by_group(self.rows, [run.name]), by_group(self.rows, other)
            pairs += [(mine[group], theirs[group]) for group in self._groups() if group in mine and group in theirs][:1]
        return pairs

    def _groups(self) -> list[str]:
        """The largest first."""
        sizes = Counter(row.group for row in self.rows)
        return sorted(sizes, key=lambda group: (-sizes[group], group))


def by_group(rows: Sequence[Row], names: Sequence[str]) -> dict[str, Row]:
    """The rows of such a run; of several in one group, which are the same but for their times, one."""
    found: dict[str, Row] = {}
    for row in sorted(rows, key=Row.file, reverse=True):
        if row.run in names:
            found[row.group] = row
    return found


def share(row: Row, encoder: str, labels: str, score: str) -> float:
    """In percent."""
    return 100 * float(row.scores[encoder]["parts"][labels][score]["top1"])


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation; of a single one nothing is known of the spread."""
    return f"{np.mean(values):.1f}" + (f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else "")


def difference(pairs: Sequence[tuple[float, float]]) -> str:
    """Mean of the first less the second ± its standard error (pairs)."""
    if not pairs:
        return ""
    less = [a - b for a, b in pairs]
    error = f" ± {np.std(less, ddof=1) / np.sqrt(len(less)):.1f}" if len(less) > 1 else ""
    return f"{np.mean(less):+.1f}{error} ({len(less)})"


def _labels_of(rows: Sequence[Row], encoder: str) -> list[str]:
    """The label sets, the mean of them first where there is one."""
    parts = rows[0].scores[encoder]["parts"]
    return sorted(parts, key=lambda labels: labels != "mean")


def _seconds(name: str, rows: Sequence[Row], notes: list[str]) -> str:
    """The mean of the runs that had the machine for themselves; else a note that says why there is none."""
    alone = [row.seconds["all"] for row in rows if row.taken == ALONE]
    if alone:
        return f"{np.mean(alone):,.0f}" + ("" if len(alone) == len(rows) else f" ({len(alone)} of {len(rows)})")
    company = Counter(row.taken for row in rows)
    told = ", ".join(f"{times} {taken}" for taken, times in sorted(company.items()))
    return f"- [{_note(f'No seconds: these runs were not taken alone ({told}).', notes)}]"


def _mark(rows: Sequence[Row], notes: list[str]) -> str:
    """Numbers of a note for each thing that is not as it should be with a line's rows."""
    groups, codes = {row.group for row in rows}, {row.code for row in rows}
    why = {
        "Some rows are of a tree with changes that were not committed.": any(row.commit["dirty"] for row in rows),
        "The rows are of several codes, or of one with other libraries.": len(codes) > 1,
        "The rows are of several processors, kinds of arithmetic or collections.": len(groups) > len(codes),
    }
    numbers = [str(_note(text, notes)) for text, is_so in why.items() if is_so]
    return f" [{', '.join(numbers)}]" if numbers else ""


def _note(text: str, notes: list[str]) -> int:
    if text not in notes:
        notes.append(text)
    return notes.index(text) + 1


def _machines(rows: Sequence[Row]) -> list[str]:
    """A table of the processors, codes and commits that made the rows."""
    if not rows:
        return ["No run is done yet."]
    made = defaultdict(list)
    for row in rows:
        arithmetic = f"{row.arithmetic['precision']}, channels {'last' if row.arithmetic['channels_last'] else 'first'}"
        flags = " ".join(row.processor["flags"])
        commit = f"{row.commit['commit'] or 'no commit'}{' with changes' if row.commit['dirty'] else ''}"
        made[row.processor["id"], flags, arithmetic, row.versions["torch"], row.code, commit].append(row.date)
    lines = [
        "## Made by",
        "",
        "| processor | it has | arithmetic | torch | code | commit | rows | dates |",
        "|---|---|---|---|---|---|---:|---|",
    ]
    for key, dates in sorted(made.items()):
        lines.append(joined([*key, str(len(dates)), " to ".join(dict.fromkeys((min(dates), max(dates))))]))
    return lines


def joined(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
