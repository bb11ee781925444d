"""An experiment of the search as plain data, and the targets that its teachers give."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64
from numpy.typing import NDArray
from torch import Tensor

from divcon.methods.moclr import MoCLR
from divcon.methods.settings import IMAGES_PER_CLUSTER, SMALL_LR
from divcon.nets.net import Net
from divcon.nets.slim import SlimResNet
from divcon.recipes.dnc import BASE_SHARE, STUDENT_RATE
from divcon.rng import seed_for

from .piles import PACKED_FOR, At
from .slots import State
from .student import TEMPERATURE, Student, Targets, Weights, affine

HIDDEN, DIM = 512, 128  # of the projector
MOST_EXPERTS = 10


@dataclass(frozen=True)
class Way:
    """The division of the budget, the images of the experts, and the lessons of the student.

    parts: `clusters`; `balanced` ones, of equal sizes; those of a `hierarchy`; `random` parts of the clusters' sizes; `all`, one
    expert on everything; `none`, no expert; `objectives`, an expert by MoCLR and one by classification into clusters, both on
    everything. Without a share for the student, the result is the expert, or the base.
    """

    shares: tuple[float, float, float] = (0.5, 0.25, 0.25)  # of base, experts, student
    parts: str = "clusters"
    k: int = 5
    rounds: int = 1  # the student of a round is the base of the next
    base_rate: float = SMALL_LR
    expert_rate: float = SMALL_LR / 2
    student_rate: float = STUDENT_RATE
    base_share: float = BASE_SHARE
    whiten: bool = False  # targets
    unit: bool = False  # targets of length one, as the paper has them, in place of standardized ones
    balanced: bool = False  # the student sees equally many images of each part
    everyone: bool = False  # all teachers teach all images
    weights: Weights = field(default_factory=Weights)


@dataclass(frozen=True)
class Spec:
    """An experiment. Without a `way` it is MoCLR for the whole budget."""

    line: str
    pile: str
    width: int
    passes: float
    seed: int
    way: Way | None = None
    size: int = PACKED_FOR  # of views, in pixels

    @property
    def at(self) -> At:
        return self.pile, self.size


@dataclass(frozen=True, eq=False)
class Trained:
    """The weights of a network, and its features of all images."""

    state: State
    pool: Float32[np.ndarray, "n d"]
    hidden: Float32[np.ndarray, "n h"]
    loss: float


def new_moclr(width: int, seed: int, base: Trained | None = None) -> MoCLR:
    """MoCLR from random weights, or from those of a base."""
    torch.manual_seed(seed_for(seed, "weights"))
    method = MoCLR(SlimResNet(width), 0, temperature=TEMPERATURE, momentum=None, hidden=HIDDEN, dim=DIM)
    if base is not None:
        method.start_from(net_of(base, width))
    return method


def new_student(width: int, seed: int, targets: Targets, weights: Weights, base: Trained | None = None) -> Student:
    """A student with random weights, or with those of a base."""
    torch.manual_seed(seed_for(seed, "weights"))
    classes = len(targets.classes) // IMAGES_PER_CLUSTER + 8  # a few more, for collections of few images
    method = Student(SlimResNet(width), targets, weights, classes, hidden=HIDDEN, dim=DIM)
    if base is not None:
        method.start_from(net_of(base, width))
    return method


def net_of(trained: Trained, width: int) -> Net:
    net = Net(SlimResNet(width), hidden=HIDDEN, dim=DIM)
    own = {name.removeprefix("net."): value for name, value in trained.state.items() if name.startswith("net.")}
    net.load_state_dict(own, strict=False)  # nobody counts the batches of batch norms
    return net


def targets_of(
    way: Way, base: Trained, experts: Sequence[Trained], cluster: NDArray[np.int64], most: int = MOST_EXPERTS
) -> Targets:
    """The targets of the base and of up to `most` experts, in the order of their clusters."""
    n, d = base.pool.shape
    targets, where = Targets.empty(n, 1 + most, d), torch.from_numpy(cluster)
    for t, teacher in enumerate([base, *experts]):
        pool, inside = torch.from_numpy(teacher.pool), where == t - 1
        seen = pool if t == 0 or way.everyone else pool[inside]
        a, shift = to_unit(seen) if way.unit else affine(seen, way.whiten)
        told = F.normalize(pool, dim=1) if way.unit else pool @ a + shift
        targets.features[:, t], targets.maps[t], targets.shifts[t] = told, a, shift
        targets.shares[:, t] = shares_of(way, t, len(experts), where)
        bank = whitened(pool, seen)
        if t == 0:
            targets.base[:] = bank
        else:
            targets.expert[inside] = bank[inside]
    targets.cluster[:] = where
    return targets


def to_unit(seen: Float[Tensor, "m d"]) -> tuple[Float[Tensor, "d d"], Float[Tensor, " d"]]:
    """The linear map that is nearest to making rows like these one long: the same factor for all."""
    d = seen.shape[1]
    return torch.eye(d) / seen.norm(dim=1).mean().clamp(min=1e-12), torch.zeros(d)


def whitened(x: Float[Tensor, "n d"], seen: Float[Tensor, "m d"]) -> Float[Tensor, "n d"]:
    """Rows of length one, whitened by some of them."""
    a, shift = affine(seen, whiten=True)
    return F.normalize(x @ a + shift, dim=1)


def shares_of(way: Way, teacher: int, experts: int, where: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
    """The share of a teacher in the lesson of each image."""
    if not experts or teacher == 0:
        return torch.full((len(where),), 1.0 if not experts else way.base_share)
    rest = 1 - way.base_share
    return torch.full((len(where),), rest / experts) if way.everyone else rest * (where == teacher - 1).float()
