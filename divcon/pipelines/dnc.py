"""Divide and Contrast (https://arxiv.org/abs/2105.08054), from top to bottom."""

from dataclasses import dataclass, field, replace

from ..data.images import Images
from ..evals.expert_check import ExpertCheck
from ..nets.trained import Trained
from ..runs.run import Run
from ..stages.check_experts import check_experts
from ..stages.cluster import Divide, divide
from ..stages.distill import Distillation, Teachers, distill
from ..stages.learning import FEWEST
from ..stages.pretrain import Pretrain, pretrain


@dataclass(frozen=True, kw_only=True)
class DnC:
    """What each stage is done with; `expert.images` is the budget of all experts together."""

    base: Pretrain
    clusters: Divide = field(default_factory=Divide)
    expert: Pretrain
    checks: ExpertCheck = field(default_factory=ExpertCheck)
    student: Distillation

    def __post_init__(self) -> None:
        """A cluster is large enough for its expert to be trained."""
        enough = replace(self.clusters, smallest=max(FEWEST, self.clusters.smallest))
        object.__setattr__(self, "clusters", enough)


def divide_and_contrast(run: Run, images: Images, recipe: DnC) -> Trained:
    """Divide a collection by what a base model sees in it, contrast within each part, and distill
    what the experts learned there, together with the base, into one student."""
    base = run.stage("base", pretrain, images, recipe.base)
    clusters = run.stage("clusters", divide, base, images, recipe.clusters)

    experts = run.stages(
        "experts",
        pretrain,
        [
            (images.subset(members), recipe.expert.share(len(members) / len(images)), base)
            for members in clusters.members()
        ],
    )
    run.stage("checks", check_experts, base, experts, clusters, images, recipe.checks)

    teachers = Teachers(base, experts, clusters)
    return run.stage("student", distill, teachers, images, recipe.student)
