"""lightly as its documentation shows it in plain PyTorch: its transforms, heads and losses, SGD, in float32.

Written after https://docs.lightly.ai/self-supervised-learning/examples/ (SimCLR, MoCo and BYOL of lightly 1.6). The
dataset is one of pictures in memory, as torchvision's CIFAR10 is.
"""

import copy
import multiprocessing
import os
import signal
from collections.abc import Iterator
from typing import Any

import torch
from lightly.loss import NegativeCosineSimilarity, NTXentLoss
from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead, MoCoProjectionHead, SimCLRProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum
from lightly.transforms import (
    BYOLTransform,
    BYOLView1Transform,
    BYOLView2Transform,
    MoCoV2Transform,
    SimCLRTransform,
)
from lightly.utils.scheduler import cosine_schedule
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from divcon.nets.net import width

from .pairs import seconds
from .steps import LR, QUEUE, Case, Picture


class InMemory(Dataset[tuple[Any, int]]):
    """Pictures and a label that nobody asks for."""

    def __init__(self, pictures: list[Picture], transform: Any):
        self.pictures, self.transform = pictures, transform

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.pictures[i])), 0


def transform(case: Case) -> Any:
    if case.method == "byol":
        views = BYOLView1Transform(input_size=case.size), BYOLView2Transform(input_size=case.size)
        return BYOLTransform(view_1_transform=views[0], view_2_transform=views[1])
    if case.method in ("moco", "moclr"):
        return MoCoV2Transform(input_size=case.size)
    return SimCLRTransform(input_size=case.size, gaussian_blur=0.0 if case.size == 32 else 0.5)


class SimCLR(nn.Module):
    def __init__(self, case: Case):
        super().__init__()
        self.backbone = case.network()
        self.projection_head = SimCLRProjectionHead(width(self.backbone), *case.widths())
        self.criterion = NTXentLoss()

    def forward(self, x: Tensor) -> Tensor:
        return self.projection_head(self.backbone(x).flatten(start_dim=1))

    def loss(self, x0: Tensor, x1: Tensor) -> Tensor:
        return self.criterion(self(x0), self(x1))

    def follow(self, momentum: float) -> None:
        """There is nothing that follows."""


class WithMomentum(nn.Module):
    """The common part of MoCo and BYOL: a backbone and a head, and a slow copy of both."""

    def __init__(self, case: Case, projection_head: nn.Module):
        super().__init__()
        self.backbone, self.projection_head = case.network(), projection_head
        self.backbone_momentum = copy.deepcopy(self.backbone)
        self.projection_head_momentum = copy.deepcopy(projection_head)
        deactivate_requires_grad(self.backbone_momentum)
        deactivate_requires_grad(self.projection_head_momentum)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection_head(self.backbone(x).flatten(start_dim=1))

    def forward_momentum(self, x: Tensor) -> Tensor:
        return self.projection_head_momentum(self.backbone_momentum(x).flatten(start_dim=1)).detach()

    def follow(self, momentum: float) -> None:
        update_momentum(self.backbone, self.backbone_momentum, m=momentum)
        update_momentum(self.projection_head, self.projection_head_momentum, m=momentum)


class MoCo(WithMomentum):
    def __init__(self, case: Case):
        hidden, dim = case.widths()
        super().__init__(case, MoCoProjectionHead(width(case.network()), hidden, dim))
        self.criterion = NTXentLoss(memory_bank_size=(QUEUE, dim))

    def loss(self, x0: Tensor, x1: Tensor) -> Tensor:
        return self.criterion(self(x0), self.forward_momentum(x1))


class BothWays(MoCo):
    """MoCo with keys of each view for queries of the other, as MoCLR has it: the nearest that is made of its parts."""

    def loss(self, x0: Tensor, x1: Tensor) -> Tensor:
        return super().loss(x0, x1) + super().loss(x1, x0)


class BYOL(WithMomentum):
    def __init__(self, case: Case):
        hidden, dim = case.widths()
        super().__init__(case, BYOLProjectionHead(width(case.network()), hidden, dim))
        self.prediction_head = BYOLPredictionHead(dim, hidden, dim)
        self.criterion = NegativeCosineSimilarity()

    def loss(self, x0: Tensor, x1: Tensor) -> Tensor:
        p0, z0 = self.prediction_head(self(x0)), self.forward_momentum(x0)
        p1, z1 = self.prediction_head(self(x1)), self.forward_momentum(x1)
        return 0.5 * (self.criterion(p0, z1) + self.criterion(p1, z0))


METHODS = {"simclr": SimCLR, "moco": MoCo, "moclr": BothWays, "byol": BYOL}


class Theirs:
    """lightly's loop, a step at a time. Its workers sleep while others are timed, with what they have made so far: so
    the pieces are those of one unbroken training, and nobody is slowed by the other."""

    def __init__(self, case: Case, workers: int):
        self.case, self.workers = case, workers
        torch.manual_seed(0)
        self.model = METHODS[case.method](case).train()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=LR)
        loader = DataLoader(
            InMemory(case.pictures(), transform(case)),
            batch_size=case.batch,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            multiprocessing_context="fork" if workers else None,  # Linux's own way; this process was spawned
        )
        self.batches = _endless(loader)
        self.at = 0

    def steps(self) -> None:
        _tell(signal.SIGCONT)
        for _ in range(self.case.steps):
            self.step()
        _tell(signal.SIGSTOP)

    def step(self) -> None:
        x0, x1 = next(self.batches)[0]
        self.model.follow(cosine_schedule(self.at, 10_000, 0.996, 1))
        loss = self.model.loss(x0, x1)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.at += 1

    def figures(self) -> dict[str, int]:
        return {"workers": self.workers}

    def close(self) -> None:
        _tell(signal.SIGCONT)
        self.batches = iter(())


def _endless(loader: DataLoader[Any]) -> Iterator[Any]:
    while True:
        yield from loader


def _tell(number: signal.Signals) -> None:
    """Send a signal to the workers: the only child processes of a bench of steps."""
    for child in multiprocessing.active_children():
        if child.pid:
            os.kill(child.pid, number)


def better(case: Case) -> Theirs:
    """lightly with the number of workers that is faster here, of none and two, by a few steps of each."""
    took = {workers: _trial(case, workers) for workers in (0, 2)}
    return Theirs(case, min(took, key=lambda workers: took[workers]))


def _trial(case: Case, workers: int) -> float:
    theirs = Theirs(case, workers)
    theirs.steps()
    took = seconds(theirs.steps)
    theirs.close()
    return took
