"""Base against experts on their own clusters, and the scores of `divcon eval`."""

from dataclasses import dataclass

from ...errors import DamagedError
from ...files.text import counted
from ...runs.expert_scores import ClusterScores, read_expert_scores
from ...runs.folder import EXPERT_SCORES
from ..facts import RunFacts
from ..parts import Cell, Plot, Section, Table, capped, share
from ..plots import Series, bars

MOST_ROWS = 200
MOST_BARS = 24


@dataclass(frozen=True)
class ScoreRow:
    """Scores of `divcon eval` that the run keeps: shares of the test images, in 0..1."""

    stage: str
    folder: str
    images: int
    classes: int
    knn: float | None
    knn_raw: float | None
    linear: float | None
    others: str


def scores_section(facts: RunFacts) -> Section | None:
    """Return the section; None for a run without experts and without scores."""
    rows, kept = expert_rows(facts), kept_rows(facts)
    if not rows and not kept:
        return None
    paragraphs = [_experts_in_words(rows)] if rows else []
    if not kept:
        paragraphs.append(
            "No scores on labeled images are kept. Type divcon eval RUN LABELED to score the run; then make the report again."
        )
    plots = [_expert_plot(rows)] if rows else []
    return Section("scores", "Base, experts, student", paragraphs, plots, [_score_table(kept)] if kept else [])


def expert_rows(facts: RunFacts) -> list[ClusterScores]:
    """Return the scores of the experts on their own clusters; none where the check is not done, or damaged."""
    for stage in facts.stages:
        file = facts.folder / stage.name / EXPERT_SCORES
        if stage.is_done and file.is_file():
            try:
                return read_expert_scores(file)
            except DamagedError as error:
                facts.damage.append(str(error))
    return []


def kept_rows(facts: RunFacts) -> list[ScoreRow]:
    """Return the scores of `divcon eval`, as far as the run keeps them."""
    return [
        ScoreRow(
            kept.stage,
            kept.folder,
            kept.scores.images,
            kept.scores.classes,
            kept.scores.knn.top1 if kept.scores.knn is not None else None,
            (kept.scores.knn.raw or kept.scores.knn).top1 if kept.scores.knn is not None else None,
            kept.scores.linear.top1 if kept.scores.linear is not None else None,
            ", ".join(f"{name} {score:.1%}" for name, score in kept.scores.others.items()),
        )
        for kept in facts.scores
    ]


def _experts_in_words(rows: list[ClusterScores]) -> str:
    better = sum(row.expert > row.base for row in rows)
    weight = sum(row.images for row in rows)
    gain = sum(row.images * (row.expert - row.base) for row in rows) / max(weight, 1)
    return (
        "Agreement is the share of an image's nearest neighbors by one random view that are its neighbors by another view. "
        f"On its own cluster, {better} of {counted(len(rows), 'expert')} reach more than the base; the mean gain over the images is "
        f"{gain:+.3f}. Where the base is as good, dividing has not paid."
    )


def _expert_plot(rows: list[ClusterScores]) -> Plot:
    shown = rows[:MOST_BARS]
    places = list(range(len(shown)))
    series = [
        Series("base", places, [row.base for row in shown]),
        Series("expert", places, [row.expert for row in shown]),
    ]
    title = "Agreement on the expert's own cluster"
    knn = any(row.expert_knn is not None for row in rows)
    head = ["cluster", "images", "base", "expert", "gain", *(["base 20-NN", "expert 20-NN"] if knn else [])]
    cells: list[list[Cell]] = []
    for row in rows:
        scores = f"{row.base:.3f}", f"{row.expert:.3f}", f"{row.expert - row.base:+.3f}"
        cells.append(
            [str(row.cluster), row.images, *scores, *([share(row.base_knn), share(row.expert_knn)] if knn else [])]
        )
    first, more = capped(cells, MOST_ROWS, "expert_scores.json in the folder of the run")
    about = f"Bars of the base and of the expert for {counted(len(shown), 'cluster')}, in 0 to 1."
    groups = [str(row.cluster) for row in shown]
    return Plot(title, about, bars("experts", title, groups, series, "agreement"), Table(title, head, first, more))


def _score_table(rows: list[ScoreRow]) -> Table:
    cells: list[list[Cell]] = [
        [
            row.stage,
            row.folder,
            row.images,
            row.classes,
            share(row.knn),
            share(row.knn_raw),
            share(row.linear),
            row.others or "-",
        ]
        for row in rows
    ]
    first, more = capped(cells, MOST_ROWS, "evals in the folder of the run")
    return Table(
        "Scores on labeled images",
        ["encoder", "labeled images", "images", "classes", "20-NN", "20-NN, raw", "linear", "others"],
        first,
        more,
    )
