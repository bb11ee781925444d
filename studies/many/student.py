"""A student with every way of teaching that the search knows, each with a weight; a weight of 0 leaves it out.

All weights and targets are buffers, so that one recorded step serves for all of them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from divcon.losses import info_nce
from divcon.methods.contract import Batch, Outcome, Step
from divcon.methods.momentum_method import MomentumMethod
from divcon.nets.momentum import Momentum
from divcon.nets.net import Net, width
from divcon.nets.whitening import Whitening

TEMPERATURE = 0.2
Lesson = Callable[[Float[Tensor, "b d"], Int64[Tensor, " b"]], Float[Tensor, ""]]  # the loss of a view
GROUPS, ROUNDS = 8, 4  # of a batch of 64
OUTSIDE = -1e4  # the logit of an image of another cluster


@dataclass(frozen=True)
class Weights:
    """The weight of each loss, and the temperatures of soft targets."""

    own: float = 0.0  # MoCLR's loss, the student's own
    regress: float = 1.0  # squared distance from teachers' features
    base_alike: float = 0.0  # the similarities of an image with all others, as the base has them (SEED, 2101.04731)
    expert_alike: float = 0.0  # with the others of its cluster, as its expert has them
    classify: float = 0.0  # the cluster of an image, of many
    groups: float = 0.0  # groups inside the batch, which a view tells of the other (CLD, 2008.03813)
    unit: float = 0.0  # 1: the student's predictions are of length one (DnC, Table 19)
    teacher_temperature: float = 0.1
    student_temperature: float = 0.1


@dataclass(frozen=True)
class Targets:
    """The knowledge of the teachers about each image.

    features [n, t, d]: of each teacher, the base first; shares [n, t]: of the regression; base, expert [n, d]: of length one, to be
    compared with those of other images; cluster [n]: the image's expert; classes [n]: its class among many.
    maps [t, d, d], shifts [t, d]: a teacher's target from its own pool, with which its head begins.
    """

    features: Float[Tensor, "n t d"]
    shares: Float[Tensor, "n t"]
    base: Float[Tensor, "n d"]
    expert: Float[Tensor, "n d"]
    cluster: Int64[Tensor, " n"]
    classes: Int64[Tensor, " n"]
    maps: Float[Tensor, "t d d"]
    shifts: Float[Tensor, "t d"]

    @classmethod
    def empty(cls, n: int, teachers: int, dim: int) -> "Targets":
        """Targets to be filled."""
        return cls(
            torch.zeros(n, teachers, dim), torch.zeros(n, teachers), torch.zeros(n, dim), torch.zeros(n, dim),
            torch.zeros(n, dtype=torch.int64), torch.zeros(n, dtype=torch.int64),
            torch.zeros(teachers, dim, dim), torch.zeros(teachers, dim),
        )  # fmt: skip


class Student(MomentumMethod):
    """Learns from its own views and from the targets of its teachers at once."""

    about = "the student of the search"
    features: Tensor
    shares: Tensor
    base: Tensor
    expert: Tensor
    cluster: Tensor
    classes: Tensor
    own: Tensor
    regress: Tensor
    base_alike: Tensor
    expert_alike: Tensor
    classify: Tensor
    groups: Tensor
    unit: Tensor
    teacher_temperature: Tensor
    student_temperature: Tensor

    def __init__(
        self, encoder: nn.Module, targets: Targets, weights: Weights, classes: int, *, hidden: int = 512, dim: int = 128
    ):
        super().__init__()
        self.net = Net(encoder, hidden=hidden, dim=dim)
        self.target, self.momentum = Momentum(self.net), None
        self.heads, self.head_shifts = nn.Parameter(targets.maps.clone()), nn.Parameter(targets.shifts.clone())
        self.likes, self.like_shifts = nn.Parameter(targets.maps.clone()), nn.Parameter(targets.shifts.clone())
        self.classifier = nn.Linear(width(encoder), classes)
        self.grouping = nn.Linear(width(encoder), dim)
        for name, value in vars(targets).items():
            if name not in ("maps", "shifts"):
                self.register_buffer(name, value.clone())
        for name, weight in asdict(weights).items():
            self.register_buffer(name, torch.tensor(float(weight)))

    def forward(self, batch: Batch, at: Step) -> Outcome:
        pools = [self.net(view, "pool") for view in batch.views]
        lessons: dict[str, Lesson] = {
            "regress": self._regression, "base_alike": self._alike_base, "expert_alike": self._alike_expert, "classify": self._class
        }  # fmt: skip
        losses = [
            weight * torch.stack([lessons[name](pool, batch.index) for pool in pools]).mean()
            for name, weight in self._weights(*lessons)
        ]
        losses += [weight * self._contrast(batch, pools) for _, weight in self._weights("own")]
        losses += [weight * self._grouped(pools) for _, weight in self._weights("groups")]
        return Outcome(torch.stack(losses).sum())

    def _weights(self, *names: str) -> list[tuple[str, Tensor]]:
        """The weights by their names. A recorded step has all losses, because it serves for other weights too; elsewhere those of
        no weight take no time."""
        weights = [(name, getattr(self, name)) for name in names]
        return [(name, weight) for name, weight in weights if weight.is_cuda or float(weight)]

    def _contrast(self, batch: Batch, pools: Sequence[Float[Tensor, "b d"]]) -> Float[Tensor, ""]:
        """MoCLR's loss."""
        assert self.net.projector is not None
        projections = [self.net.projector(pool).float() for pool in pools]
        keys = [self.target(view) for view in batch.views]
        return torch.stack([info_nce(z, key, TEMPERATURE) for z, key in zip(projections, reversed(keys))]).sum()

    def _grouped(self, pools: Sequence[Float[Tensor, "b d"]]) -> Float[Tensor, ""]:
        one, other = (F.normalize(self.grouping(pool).float(), dim=1) for pool in pools)
        return group_loss(one, other)

    def _class(self, pool: Float[Tensor, "b d"], index: Int64[Tensor, " b"]) -> Float[Tensor, ""]:
        return F.cross_entropy(self.classifier(pool), self.classes[index])

    def _alike_base(self, pool: Float[Tensor, "b d"], index: Int64[Tensor, " b"]) -> Float[Tensor, ""]:
        none = torch.zeros_like(self.cluster, dtype=torch.bool)
        return self._alike(pool @ self.likes[0] + self.like_shifts[0], self.base, index, none)

    def _alike_expert(self, pool: Float[Tensor, "b d"], index: Int64[Tensor, " b"]) -> Float[Tensor, ""]:
        """The similarities with the other images of an image's cluster, as its expert has them."""
        cluster = self.cluster[index]
        z = torch.einsum("bd,bde->be", pool, self.likes[cluster + 1]) + self.like_shifts[cluster + 1]
        return self._alike(z, self.expert, index, cluster[:, None] != self.cluster)

    def _regression(self, pool: Float[Tensor, "b d"], index: Int64[Tensor, " b"]) -> Float[Tensor, ""]:
        """The squared distance from each teacher's features, by the teacher's share of the image."""
        predictions = torch.einsum("bd,tde->bte", pool, self.heads) + self.head_shifts
        predictions = torch.lerp(predictions, F.normalize(predictions, dim=2), self.unit)
        distances = (predictions - self.features[index]).square().sum(2)
        return (distances * self.shares[index]).sum(1).mean()

    def _alike(
        self, z: Float[Tensor, "b d"], bank: Float[Tensor, "n d"], index: Int64[Tensor, " b"], left_out: Tensor
    ) -> Float[Tensor, ""]:
        """Cross-entropy of the similarities with a bank of images: the student's with the teacher's."""
        teacher = bank[index] @ bank.T / self.teacher_temperature
        student = F.normalize(z, dim=1) @ bank.T / self.student_temperature
        teacher, student = (x.masked_fill(left_out, OUTSIDE) for x in (teacher, student))
        return -(teacher.softmax(1) * student.log_softmax(1)).sum(1).mean()


def group_loss(one: Float[Tensor, "b d"], other: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """Each view of an image tells the group that the other view is in, among the groups of a batch of the other views: the sum over
    both views (CLD, 2008.03813)."""
    return _told(one, other) + _told(other, one)


def _told(z: Float[Tensor, "b d"], other: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    centroids, group = grouped(other)
    return F.cross_entropy(z @ centroids.T / TEMPERATURE, group)


@torch.no_grad()
def grouped(x: Float[Tensor, "b d"]) -> tuple[Float[Tensor, "k d"], Int64[Tensor, " b"]]:
    """Spherical k-means of a batch that begins with its first rows, as a GPU records it: nothing is asked of the host."""
    centroids = x[:GROUPS]
    for _ in range(ROUNDS):
        member = ((x @ centroids.T).argmax(1)[:, None] == torch.arange(len(centroids), device=x.device)).to(x.dtype)
        sums = member.T @ x
        centroids = F.normalize(torch.where(member.sum(0)[:, None] > 0, sums, centroids), dim=1)
    return centroids, (x @ centroids.T).argmax(1)


def affine(x: Float[Tensor, "n d"], whiten: bool) -> tuple[Float[Tensor, "d d"], Float[Tensor, " d"]]:
    """The map and the shift that standardize, or PCA-whiten, rows like these, to a mean square length of 1."""
    scale = 1 / math.sqrt(x.shape[1])
    if whiten:
        a = Whitening.fit(x).projection * scale
    else:
        std = x.std(0)
        a = torch.diag(scale / std.clamp(min=1e-3 * float(std.max()) + 1e-12))
    return a, -(x.mean(0) @ a)
