"""Compare each expert with the base on the expert's own cluster."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from .. import failpoints
from ..clustering.clusters import Clusters
from ..clustering.kmeans import assign
from ..data.images import Images
from ..data.labeled.labeled import Labeled, open_labeled
from ..data.pixels.pixel_cache import Pixels
from ..evals.expert_check import ExpertCheck, agreement_on, knn_on
from ..files.integrity import digest, read_json, write_json
from ..log import info
from ..nets.trained import Trained
from ..runs.folder import EXPERT_SCORES
from ..runs.recorder import Plan, planned_by
from ..runs.stage import Result, StageContext
from ..train.encode import encode
from .learning import pixels_of, sample

MARGIN = 0.005  # what an expert has to gain on the base to be called better


class ExpertScores:
    """The scores of each expert and of the base on each cluster: rows for people, not used by any later stage."""

    def __init__(self, rows: list[dict[str, Any]]):
        self.rows = rows

    @property
    def fingerprint(self) -> str:
        return digest(str(self.rows))

    def save(self, folder: Path) -> None:
        write_json(folder / EXPERT_SCORES, self.rows)

    @classmethod
    def load(cls, folder: Path) -> Self:
        return cls(read_json(folder / EXPERT_SCORES))


def plan_checks(
    base: Trained, experts: Sequence[Trained], clusters: Clusters, images: Images, check: ExpertCheck
) -> Plan[ExpertScores]:
    """The plan of `check_experts`."""
    return Plan(ExpertScores([]))


@planned_by(plan_checks)
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
        some = members[sample(len(members), check.images, check.seed)]
        row: dict[str, Any] = {"cluster": k, "images": len(members)}
        for who, model in (("base", base), ("expert", expert)):
            row[who] = agreement_on(model, pixels, some, context.machine, check)
            for data, its_pixels, at in labeled:
                row[f"{who}_knn"] = knn_on(model, data, its_pixels, at[k], context.machine, check)
        info(_verdict(row))
        rows.append(row)
        failpoints.at("compare.some")
    return Result(ExpertScores(rows))


def _labeled_by_cluster(
    context: StageContext, base: Trained, clusters: Clusters, check: ExpertCheck
) -> list[tuple[Labeled, Pixels, list[NDArray[np.int64]]]]:
    """The labeled images, if any were named, with their pixels, and the positions that fall to each cluster."""
    if check.labels is None:
        return []
    labeled = open_labeled(check.labels, split=check.split, cache=context.cache, workers=context.machine.workers)
    pixels = pixels_of(context, labeled.images, base.input_spec)
    features = encode(base.net, base.input_spec, pixels, context.machine, layer="hidden")
    nearest, _ = assign(features, torch.from_numpy(clusters.centroids))
    return [(labeled, pixels, [np.flatnonzero(nearest.numpy() == k) for k in range(clusters.k)])]


def _verdict(row: dict[str, Any]) -> str:
    gain = row["expert"] - row["base"] if row.get("expert_knn") is None else row["expert_knn"] - row["base_knn"]
    verdict = (
        "knows them better" if gain > MARGIN else "knows them less well" if gain < -MARGIN else "knows them as well"
    )
    knn = f"; 20-NN {row['expert_knn']:.1%}, base {row['base_knn']:.1%}" if row.get("expert_knn") is not None else ""
    scores = f"agreement {row['expert']:.3f}, base {row['base']:.3f}{knn}"
    return f"expert {row['cluster']} on its {row['images']:,} images: {scores}: it {verdict}"
