"""Compare each expert with the base on the expert's own cluster."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from .. import failpoints
from ..clustering.clusters import Clusters
from ..clustering.kmeans import assign
from ..data.images import Images
from ..data.labeled.labeled import Labeled, open_labeled
from ..data.pixels.pixels import Pixels
from ..evals.expert_check import ExpertCheck, agreement_on, knn_on
from ..evals.unlabeled import agreement
from ..files.integrity import digest, write_json
from ..log import info
from ..machine import Machine
from ..nets.trained import Trained
from ..runs.expert_scores import ClusterScores, read_expert_scores
from ..runs.folder import EXPERT_SCORES
from ..runs.recorder import Plan, planned_by
from ..runs.stage import Result, StageContext, by_leader
from ..train.encode import encode
from .learning import EncodingPlan, Features, pixels_of, sample


class ExpertScores:
    """The scores of each expert, in the order of clusters: rows for people, not used by any later stage."""

    def __init__(self, rows: Sequence[ClusterScores]):
        self.rows = rows

    @property
    def fingerprint(self) -> str:
        return digest(str(self.rows))

    def save(self, folder: Path) -> None:
        write_json(folder / EXPERT_SCORES, [asdict(row) for row in self.rows])

    @classmethod
    def load(cls, folder: Path) -> Self:
        return cls(read_expert_scores(folder / EXPERT_SCORES))


def plan_checks(
    base: Trained, experts: Sequence[Trained], clusters: Clusters, images: Images, check: ExpertCheck
) -> Plan[ExpertScores]:
    """The plan of `check_experts`: base and expert each encode two views. The images of a labeled folder are not counted."""
    seen = [min(int(size), check.images) for size in clusters.sizes]
    rows = max(seen)

    def finish(x: Features, machine: Machine) -> float:
        return agreement(x, x, min(check.neighbors, len(x) - 1), precision=machine.precision)

    return Plan(
        ExpertScores([]),
        encoding=EncodingPlan(
            base, sum(seen), 4 * sum(seen), "pool", rows, finish, lambda width: 8.0 * rows * width,
            times=2 * len(seen), by_leader=True,
        ),
    )  # fmt: skip


@planned_by(plan_checks)
@by_leader
def check_experts(
    context: StageContext,
    base: Trained,
    experts: Sequence[Trained],
    clusters: Clusters,
    images: Images,
    check: ExpertCheck,
) -> Result[ExpertScores]:
    """Score each expert, and the base, on the expert's own cluster. Where the base is as good, dividing has not paid."""
    pixels = pixels_of(context, images, base.input_spec)
    labeled = _labeled_by_cluster(context, base, clusters, check)
    rows = []
    for k, (expert, members) in enumerate(zip(experts, clusters.members(), strict=True)):
        positions = members[sample(len(members), check.images, check.seed)]
        agreement, knn = dict[str, float](), dict[str, float | None]()
        for name, model in (("base", base), ("expert", expert)):
            agreement[name] = agreement_on(model, pixels, positions, context.machine, check)
            for data, its_pixels, by_cluster in labeled:
                knn[name] = knn_on(model, data, its_pixels, by_cluster[k], context.machine, check)
        row = ClusterScores(
            cluster=k,
            images=len(members),
            base=agreement["base"],
            expert=agreement["expert"],
            base_knn=knn.get("base"),
            expert_knn=knn.get("expert"),
        )
        info(row.in_words())
        rows.append(row)
        failpoints.at("compare.some")
    return Result(ExpertScores(rows))


def _labeled_by_cluster(
    context: StageContext, base: Trained, clusters: Clusters, check: ExpertCheck
) -> list[tuple[Labeled, Pixels, list[NDArray[np.int64]]]]:
    """The labeled images, if a folder was named, with their pixels, and the positions that fall to each cluster."""
    if check.labels is None:
        return []
    labeled = open_labeled(check.labels, split=check.split, cache=context.cache, workers=context.machine.workers)
    pixels = pixels_of(context, labeled.images, base.input_spec)
    features = encode(base.net, base.input_spec, pixels, context.machine, layer="hidden")
    nearest, _ = assign(features, torch.from_numpy(clusters.centroids))
    return [(labeled, pixels, [np.flatnonzero(nearest.numpy() == k) for k in range(clusters.k)])]
