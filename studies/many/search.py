"""The experiments: chains of trainings that wait for one another, each done once however many need it."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray

from divcon.methods.contract import Method
from divcon.methods.settings import IMAGES_PER_CLUSTER, SMALL_LR
from divcon.recipes import batch_for

from . import workers
from .divisions import DIVIDING, parts_of, random_parts, resampled
from .lab import Kind, Lab
from .slots import Training
from .student import Targets, Weights
from .ways import MOST_EXPERTS, Spec, Trained, Way, new_moclr, new_student, targets_of

STAGES = 3  # of a round of dividing: base, experts, student; each has an order of images and views of its own
Cluster = Int64[np.ndarray, " n"]


async def experiment(lab: Lab, spec: Spec, order: int) -> None:
    """Do an experiment and write its row."""
    await lab.ready[spec.at]
    chain = Chain(lab, spec, order)
    final, extra = await (chain.moclr() if spec.way is None else chain.divide_and_contrast(spec.way))
    scores = await lab.work(workers.score, spec.at, final.pool)
    lab.write(dataclasses.asdict(spec) | {"images": round(chain.images), "loss": final.loss, **scores, **extra})


Found = tuple[Trained, dict[str, Any]]


@dataclass(frozen=True)
class Chain:
    """The trainings of one experiment."""

    lab: Lab
    spec: Spec
    order: int

    @property
    def n(self) -> int:
        return len(self.lab.piles[self.spec.at])

    @property
    def images(self) -> float:
        """The whole budget."""
        return self.spec.passes * self.n

    async def moclr(self) -> Found:
        found = await self.base(1.0)
        layers = {"pool": found.pool, "hidden": found.hidden}
        return found, {"divides": await self.lab.work(workers.divides, self.spec.at, layers, self.spec.seed)}

    async def divide_and_contrast(self, way: Way) -> Found:
        first = base = await self.base(way.shares[0], way.base_rate)
        for turn in range(way.rounds):
            cluster = await self.divided(way, base)
            experts = await self.experts(way, base, cluster, turn)
            if not way.shares[2]:
                return (*experts, base)[0], {}
            teacher, base = base, await self.student(way, base, experts, cluster, turn)
        known = await self.knowledge(way, teacher, experts, cluster, base)
        return base, {"base": await self.scores_of_base(first), "sizes": np.bincount(cluster).tolist(), **known}

    # trainings

    def base(self, share: float, rate: float = SMALL_LR) -> Awaitable[Trained]:
        """MoCLR from random weights on everything, for a share of the budget."""
        spec, images = self.spec, round(share * self.images)

        async def make() -> Trained:
            return await self._train("moclr", new_moclr(spec.width, spec.seed), images, rate)

        return self.lab.once(("moclr", spec.at, spec.width, images, spec.seed, rate), make)

    async def experts(self, way: Way, base: Trained, cluster: Cluster, turn: int) -> list[Trained]:
        """In the order of their clusters; each has its cluster's share of the experts' budget."""
        if way.parts == "none":
            return []
        budget = way.shares[1] * self.images / way.rounds
        if way.parts == "objectives":
            return await self.objectives(way, base, budget)

        async def make(k: int) -> Trained:
            members = np.flatnonzero(cluster == k)
            method = new_moclr(self.spec.width, self.spec.seed + 1, base)
            its = budget * len(members) / len(cluster)
            return await self._train("moclr", method, its, way.expert_rate, 1 + STAGES * turn, members, part=k)

        kind = ("expert", base, way.parts, way.k, round(budget), way.expert_rate)
        numbers = range(int(cluster.max()) + 1)
        return list(await asyncio.gather(*(self.lab.once((*kind, k), lambda k=k: make(k)) for k in numbers)))  # type: ignore[misc]

    async def objectives(self, way: Way, base: Trained, budget: float) -> list[Trained]:
        """Two experts on everything, by two objectives; each has half of the budget."""
        seed = self.spec.seed + 1

        async def by_moclr() -> Trained:
            return await self._train(
                "moclr", new_moclr(self.spec.width, seed, base), budget / 2, way.expert_rate, 1, part=1
            )

        async def by_classes() -> Trained:
            targets = Targets.empty(self.n, 1 + MOST_EXPERTS, 8 * self.spec.width)
            targets.classes[:] = torch.from_numpy(await self.divided_finely(base))
            method = new_student(self.spec.width, seed, targets, Weights(regress=0, classify=1), base)
            return await self._train("student", method, budget / 2, way.expert_rate, 1, part=2)

        kind, makers = ("objective", base, round(budget), way.expert_rate), (by_moclr, by_classes)
        return list(await asyncio.gather(*(self.lab.once((*kind, make.__name__), make) for make in makers)))

    async def student(
        self, way: Way, base: Trained, experts: Sequence[Trained], cluster: Cluster, turn: int
    ) -> Trained:
        targets = targets_of(way, base, experts, cluster)
        if way.weights.classify:
            targets.classes[:] = torch.from_numpy(await self.divided_finely(base))
        method = new_student(self.spec.width, self.spec.seed + 2, targets, way.weights, base)
        images = way.shares[2] * self.images / way.rounds
        members = resampled(cluster, self.spec.seed) if way.balanced else None
        return await self._train("student", method, images, way.student_rate, 2 + STAGES * turn, members)

    async def _train(
        self, name: str, method: Method, images: float, lr: float, stage: int = 0,
        members: NDArray[np.int64] | None = None, part: int = 0,
    ) -> Trained:  # fmt: skip
        """Train a method with the order of images, and from the epoch of views, of a stage and of a part of the collection."""
        spec, pool, batch = self.spec, self.lab.pools[self.spec.at], batch_for(self.n)
        seed, first = spec.seed + 101 * stage + 10 * part, (spec.seed * 37 + stage * 17) % pool.epochs
        steps = max(1, round(images / batch))
        rows = pool.rows(np.arange(self.n) if members is None else members, steps, batch, seed, first)
        return await self.lab.train(Kind(name, spec.at, spec.width), Training.of(method, rows, lr), self.order)

    # divisions

    def divided(self, way: Way, base: Trained) -> Awaitable[Cluster]:
        async def make() -> Cluster:
            if way.parts == "random":
                clusters = await self.divided(dataclasses.replace(way, parts="clusters"), base)
                return random_parts(clusters, self.spec.seed)
            if way.parts not in DIVIDING:
                return np.zeros(self.n, np.int64)
            return await self.lab.work(parts_of, base.hidden, way.parts, way.k, workers.SMALLEST, self.spec.seed)

        return self.lab.once(("divided", way.parts, way.k, base), make)

    def divided_finely(self, base: Trained) -> Awaitable[Cluster]:
        k = max(8, self.n // IMAGES_PER_CLUSTER)
        return self.lab.once(
            ("fine", base), lambda: self.lab.work(parts_of, base.pool, "clusters", k, 1, self.spec.seed)
        )

    # what else is told of an experiment

    def scores_of_base(self, base: Trained) -> Awaitable[dict[str, Any]]:
        return self.lab.once(("scores", base), lambda: self.lab.work(workers.score, self.spec.at, base.pool))

    async def knowledge(
        self, way: Way, base: Trained, experts: Sequence[Trained], cluster: Cluster, student: Trained
    ) -> dict[str, Any]:
        """For DnC as the product has it, and its random parts: the whitened neighbors that each network finds within each part,
        and the scores of base and experts side by side."""
        if way != Way(parts=way.parts) or way.parts not in ("clusters", "random"):
            return {}
        own = np.stack([expert.pool for expert in experts])[cluster, np.arange(len(cluster))]
        moclr = await self.base(1.0)
        known = {"base": base.pool, "experts": own, "student": student.pool, "moclr": moclr.pool}
        pools = [base.pool, *(expert.pool for expert in experts)]
        return {
            "within": await self.lab.work(workers.within, self.spec.at, cluster, known),
            "side_by_side": await self.lab.work(workers.side_by_side, self.spec.at, pools),
        }
