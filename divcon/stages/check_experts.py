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
from ..data.pixels.pixels import Pixels
from ..evals.expert_check import ExpertCheck, agreement_on, knn_on
from ..files.integrity import digest, read_json, write_json
from ..log import info
from ..nets.trained import Trained
from ..runs.run import StageContext
from ..train.encode import encode
from .learning import pixels_of, sample

MARGIN = 0.005  # what an expert has to gain on the base to be called better


class ExpertScores:
    """How well each expert and the base know each cluster: rows for people, not used by any later stage."""

    def __init__(self, rows: list[dict[str, Any]]):
        self.rows = rows

    @property
    def fingerprint(self) -> str:
        return digest(str(self.rows))

    def save(self, folder: Path) -> None:
        write_json(folder / "comparison.json", self.rows)

    @classmethod
    def load(cls, folder: Path) -> Self:
        return cls(read_json(folder / "comparison.json"))


def check_experts(
    context: StageContext,
    base: Trained,
    experts: Sequence[Trained],
    clusters: Clusters,
    images: Images,
    check: ExpertCheck,
) -> ExpertScores:
    """Ask base and expert about the expert's own cluster. Where the base knows it as well, dividing has not paid."""
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
    return ExpertScores(rows)


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
