"""The scores of experts and of the base on the experts' own clusters: a row of expert_scores.json for each cluster."""

from dataclasses import dataclass
from pathlib import Path

from ..files.integrity import read_json
from .json_files import as_record

MARGIN = 0.005  # an expert has to gain so much on the base to be called better


@dataclass(frozen=True, kw_only=True)
class ClusterScores:
    """The scores of an expert and of the base on one cluster: agreement in 0..1, and 20-NN accuracy where labels were given
    and some of them fall to the cluster."""

    cluster: int
    images: int
    base: float
    expert: float
    base_knn: float | None = None
    expert_knn: float | None = None

    def gain(self) -> float:
        """The expert's gain on the base: by labels where there are some, else by agreement."""
        if self.expert_knn is None or self.base_knn is None:
            return self.expert - self.base
        return self.expert_knn - self.base_knn

    def in_words(self) -> str:
        gain = self.gain()
        better, worse = "knows them better", "knows them less well"
        verdict = better if gain > MARGIN else worse if gain < -MARGIN else "knows them as well"
        knn = "" if self.expert_knn is None else f"; 20-NN {self.expert_knn:.1%}, base {self.base_knn:.1%}"
        scores = f"agreement {self.expert:.3f}, base {self.base:.3f}{knn}"
        return f"expert {self.cluster} on its {self.images:,} images: {scores}: it {verdict}"


def read_expert_scores(file: Path) -> list[ClusterScores]:
    """Return the rows of an expert_scores.json. Raises DamagedError if divcon did not write it so."""
    return [as_record(ClusterScores, row, file) for row in read_json(file)]
