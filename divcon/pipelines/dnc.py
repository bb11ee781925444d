"""Divide and Contrast (https://arxiv.org/abs/2105.08054), from top to bottom."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from ..data.images import Images
from ..evals.expert_check import ExpertCheck
from ..nets.trained import Trained
from ..runs.run import Run
from ..stages.check_experts import check_experts
from ..stages.cluster import Divide, divide
from ..stages.distill import Distillation, Teachers, distill
from ..stages.fits import check_students_teachers
from ..stages.learning import FEWEST
from ..stages.pretrain import Pretrain, pretrain
from .recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class DnC(Recipe):
    """The recipe of each stage; `expert.samples_seen` is the budget of all experts together."""

    base: Pretrain
    clusters: Divide = field(default_factory=Divide)
    expert: Pretrain
    checks: ExpertCheck = field(default_factory=ExpertCheck)
    student: Distillation
    starts_from_base: ClassVar[tuple[str, ...]] = ("expert", "student")

    def __post_init__(self) -> None:
        """A cluster is large enough for its expert to be trained."""
        enough = replace(self.clusters, smallest=max(FEWEST, self.clusters.smallest))
        object.__setattr__(self, "clusters", enough)

    def check(self, base: Trained | None) -> None:
        check_students_teachers(self.base, self.expert, self.student, base)

    def changed_by(self, typed: Mapping[str, object]) -> list[str]:
        smallest = typed.get("clusters.smallest", FEWEST)
        few = isinstance(smallest, int) and smallest < FEWEST
        return [f"clusters.smallest {FEWEST}: an expert needs so many images"] if few else []


def divide_and_contrast(run: Run, images: Images, recipe: DnC) -> Trained:
    """Divide a collection by what a base model sees in it, contrast within each part, and distill
    what the experts learned there, together with the base, into one student."""
    base = run.stage("base", pretrain, images, recipe.base)
    clusters = run.stage("clusters", divide, base, images, recipe.clusters)

    parts = [
        (images.subset(members), recipe.expert.share(len(members) / len(images)), base)
        for members in clusters.members()
    ]
    experts = run.stages("experts", pretrain, parts)
    run.stage("checks", check_experts, base, experts, clusters, images, recipe.checks)

    teachers = Teachers(base, experts, clusters)
    return run.stage("student", distill, teachers, images, recipe.student.beside(recipe.base))
