"""Divide and Contrast (https://arxiv.org/abs/2105.08054), from top to bottom."""

from dataclasses import dataclass, field, replace

from .data.images import Images
from .evals.compare import Check
from .nets.trained import Trained
from .runs import Run
from .stages import FEWEST, Distillation, Divide, Pretrain, Teachers, compare, distil, divide, pretrain


@dataclass(frozen=True, kw_only=True)
class DnC:
    """What each stage is done with; `expert.images` is the budget of all experts together."""

    base: Pretrain
    clusters: Divide = field(default_factory=Divide)
    expert: Pretrain
    checks: Check = field(default_factory=Check)
    student: Distillation

    def __post_init__(self) -> None:
        """A cluster is large enough for its expert to be trained."""
        enough = replace(self.clusters, smallest=max(FEWEST, self.clusters.smallest))
        object.__setattr__(self, "clusters", enough)


def divide_and_contrast(run: Run, images: Images, recipe: DnC) -> Trained:
    """Divide a collection by what a base model sees in it, contrast within each part, and distil
    what the experts learned there, together with the base, into one student."""
    base = run.stage("base", pretrain, images, recipe.base)
    clusters = run.stage("clusters", divide, base, images, recipe.clusters)

    experts = run.stages("experts", pretrain, [
        (images.subset(members), recipe.expert.share(len(members) / len(images)), base)
        for members in clusters.members()
    ])  # fmt: skip
    run.stage("checks", compare, base, experts, clusters, images, recipe.checks)

    teachers = Teachers(base, experts, clusters)
    return run.stage("student", distil, teachers, images, recipe.student)
