"""What was done and if there are signs of a problem, in five lines."""

from ...files.text import counted
from ..facts import RunFacts
from ..kept import Kept
from ..parts import Line, duration, share
from .scores import expert_rows, kept_rows

OK, LOOK, MISSING = "ok", "look", "missing"
MUCH_REJECTED = 0.05  # of the files
LITTLE_RANK = 0.05  # of the dimensions
FEW_DIMENSIONS = 2.5  # effective rank of a batch, below which a network has collapsed
SMALL_SPREAD = 0.05
UNEVEN = 10  # times the smallest cluster


def summary_lines(facts: RunFacts, kept: Kept | None) -> list[Line]:
    """Return the five lines: stages, collection, trainings, clusters, quality."""
    return [_stages(facts), _collection(facts), _trainings(facts), _clusters(facts, kept), _quality(facts, kept)]


def _stages(facts: RunFacts) -> Line:
    done = sum(stage.is_done for stage in facts.stages)
    recipe = facts.record.options.get("recipe", "?")
    about = f"recipe {recipe}: {done} of {counted(len(facts.stages), 'stage')} done in {duration(facts.seconds)}"
    left = [f"{stage.name} is {stage.state}" for stage in facts.stages if not stage.is_done]
    if not left:
        return Line(OK, "Run", f"{about}. The result is the encoder of {facts.record.final}.")
    more = f" and {len(left) - 3:,} more" if len(left) > 3 else ""
    return Line(
        MISSING, "Run", f"{about}. Not done: {'; '.join(left[:3])}{more}. The command of the run, typed again, goes on."
    )


def _collection(facts: RunFacts) -> Line:
    index = facts.index
    if index is None:
        return Line(
            MISSING,
            "Collection",
            f"{counted(facts.record.used, 'image')} used; the index of the collection is not there.",
        )
    bad = index.rejected > MUCH_REJECTED * index.found
    why = "; many files were rejected, see why below" if bad else ""
    return Line(LOOK if bad else OK, "Collection", f"{index.summary}{why}.")


def _trainings(facts: RunFacts) -> Line:
    if not facts.trainings:
        return Line(MISSING, "Training", "No training has logged a step yet.")
    signs = []
    for stage in facts.trainings:
        last = stage.lines[-1]
        spread, rank = last.get("spread"), last.get("effective_rank")
        if isinstance(spread, float) and spread < SMALL_SPREAD:
            signs.append(f"{stage.name} gives nearly the same features for all images (spread {spread:.3f})")
        elif isinstance(rank, float) and rank < FEW_DIMENSIONS:
            signs.append(f"{stage.name} uses only {rank:.1f} dimensions")
    if signs:
        return Line(LOOK, "Training", f"Signs of collapse: {'; '.join(signs[:3])}.")
    return Line(OK, "Training", f"No sign of collapse in {counted(len(facts.trainings), 'training')}. {_loss(facts)}")


def _loss(facts: RunFacts) -> str:
    stage = facts.trainings[-1]
    first, last = stage.lines[0].get("loss"), stage.lines[-1].get("loss")
    if not isinstance(first, float) or not isinstance(last, float):
        return ""
    return f"The loss of {stage.name} went from {first:.3f} to {last:.3f}."


def _clusters(facts: RunFacts, kept: Kept | None) -> Line:
    if kept is None or not kept.record.division:
        sizes = kept.record.cluster_sizes if kept is not None else []
        text = f"No stage divides the collection; the sample falls into {counted(len(sizes), 'cluster')} here."
        return Line(
            OK if len(sizes) > 1 else MISSING,
            "Clusters",
            text if len(sizes) > 1 else "There are no clusters to show.",
        )
    sizes = kept.record.cluster_sizes
    uneven = len(sizes) > 1 and max(sizes) > UNEVEN * max(1, min(sizes))
    text = f"{counted(len(sizes), 'cluster')} of {min(sizes):,} to {max(sizes):,} images"
    rows = expert_rows(facts)
    better = sum(row.expert > row.base for row in rows)
    experts = (
        f"; {better} of {counted(len(rows), 'expert')} know their own cluster better than the base" if rows else ""
    )
    bad = uneven or (bool(rows) and 2 * better <= len(rows))
    return Line(
        LOOK if bad else OK, "Clusters", f"{text}{'; some are far larger than others' if uneven else ''}{experts}."
    )


def _quality(facts: RunFacts, kept: Kept | None) -> Line:
    scores = [row for row in kept_rows(facts) if row.knn is not None]
    best = max(scores, key=lambda row: row.knn or 0.0, default=None)
    scored = f"20-NN {share(best.knn)} by {best.stage} on {best.folder}. " if best else ""
    quality = kept.record.quality if kept is not None else None
    if quality is None or kept is None:
        return Line(
            OK if best else MISSING,
            "Quality",
            scored or "Not measured: the images or a finished encoder were missing.",
        )
    little = quality.rank < LITTLE_RANK * min(quality.dimensions, quality.images)
    rank = f"The features of {kept.record.encoder} have effective rank {quality.rank:.1f} of {quality.dimensions:,}"
    hint = "" if best else " The command divcon eval scores it on labeled images."
    return Line(LOOK if little else OK, "Quality", f"{scored}{rank}{', which is little' if little else ''}.{hint}")
