"""Scores that need no labels: effective rank, agreement of the neighbors of two views, and evidence for a number of clusters."""

from dataclasses import asdict, dataclass
from typing import Annotated

from pydantic import Field, PositiveInt

from ...clustering.number_of_clusters import CANDIDATES, SMALLEST, suggested, try_numbers
from ...clustering.shares import evenly
from ...errors import TooFewError, UsageError
from ...runs.evals import TaskScores
from ..expert_check import two_views
from ..unlabeled import agreement, rankme
from .contract import Row, Task, Trial

FEWEST = 20  # images, below which neighbors say nothing


@dataclass(frozen=True, kw_only=True)
class EffectiveRank(Task):
    """The effective rank of the raw features of each layer, over their number, or over that of the images if these are fewer
    (RankMe, https://arxiv.org/abs/2210.02885)."""

    about = "the effective rank of the features over their number, for each layer (RankMe)"
    truth = "none"

    def score(self, trial: Trial) -> TaskScores:
        rows = list[Row]()
        for each in trial.compared(whitened=False):
            x = trial.features_of(each.layer)
            rank, most = rankme(x), min(x.shape)
            rows.append({"features": each.name, "width": x.shape[1], "effective rank": rank, "share": rank / most})
        metric = f"effective rank of the {trial.layer} over the largest possible one"
        return TaskScores(metric, float(rows[0]["share"]), {}, {}, table=rows)


@dataclass(frozen=True, kw_only=True)
class ViewsAgreement(Task):
    """The mean share of an image's nearest neighbors by one random view that are its neighbors by another one."""

    about = "the part of an image's neighbors that two random views of it share, for each layer"
    truth = "none"
    whitens = True
    images: Annotated[int, Field(ge=FEWEST)] = 1000
    neighbors: PositiveInt = 10

    def __post_init__(self) -> None:
        if self.neighbors + 2 > self.images:
            raise UsageError(
                f"agreement.neighbors={self.neighbors}: {self.images} images have too few neighbors for that; type "
                f"agreement.images={self.neighbors + 2}, or more"
            )

    def score(self, trial: Trial) -> TaskScores:
        n = len(trial.images)
        if n < max(FEWEST, self.neighbors + 2):
            raise TooFewError(f"{n} images have too few neighbors for their agreement; give more images")
        positions, rows = evenly(n, self.images), list[Row]()
        chance, machine = self.neighbors / (len(positions) - 1), trial.machine
        for layer, of_layer in trial.compared_by_layer().items():
            with machine.use():
                views = two_views(trial.model, trial.pixels, positions, machine, trial.seed, layer)
                for each in of_layer:
                    a, b = map(each.of, views)
                    share = agreement(a, b, self.neighbors, precision=machine.precision)
                    rows.append({"features": each.name, "agreement": share, "by chance": chance})
        return TaskScores(f"agreement by the {rows[0]['features']}", float(rows[0]["agreement"]), {}, {}, table=rows)


@dataclass(frozen=True, kw_only=True)
class NumberOfClusters(Task):
    """The fewest clusters, of those that other seeds find again, that are about as far apart as any: their silhouette.

    Each number has a row: the mean silhouette by cosine, the mean adjusted Rand index of divisions from different seeds, and
    the smallest cluster.
    """

    about = "the number of clusters that stands out, with the silhouette and the stability of each"
    truth = "none"
    measure = "silhouette"
    whitens = True
    images: Annotated[int, Field(ge=SMALLEST * CANDIDATES[0])] = 2000

    def score(self, trial: Trial) -> TaskScores:
        compared, raw = trial.compared()[0], trial.features
        x = compared.of(raw[evenly(len(raw), self.images)])
        with trial.machine.use():
            trials = try_numbers(x.numpy(), seed=trial.seed)
        if not trials:
            fewest = SMALLEST * CANDIDATES[0]
            raise TooFewError(f"{len(x)} images are too few, or too alike, for clusters; give {fewest} different ones")
        table: list[Row] = [{"clusters": each.k, **_evidence(asdict(each))} for each in trials]
        best = suggested(trials)
        if best is None:
            reason = f"no number of clusters of the {compared.name} is found again from other seeds"
            return TaskScores("", None, {}, {}, reason=reason, table=table)
        metric = f"silhouette of the clusters of the {compared.name} that stand out"
        return TaskScores(
            metric, best.silhouette, {"stability": best.stability}, {"clusters": float(best.k)}, table=table
        )


def _evidence(trial: Row) -> Row:
    return {name: trial[name] for name in ("silhouette", "stability", "smallest")}


TASKS = {"rankme": EffectiveRank(), "agreement": ViewsAgreement(), "number_of_clusters": NumberOfClusters()}
