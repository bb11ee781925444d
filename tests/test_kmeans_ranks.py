"""k-means over several ranks has the bits of one: centroids, labels, distances, inertia, and errors."""

import contextlib
import multiprocessing
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import slow
import torch
import torch.distributed as td
import torch.nn.functional as F
from torch import Tensor

from divcon import dist, signals
from divcon.clustering import furthest, ranks
from divcon.clustering.device_rows import DeviceRows
from divcon.clustering.furthest import AnyRows, distances_from, furthest_rows
from divcon.clustering.hierarchy import hierarchical_kmeans
from divcon.clustering.kmeans import KMeans, _fit, assign, kmeans
from divcon.clustering.ranks import Shares
from divcon.clustering.rows import Rows
from divcon.errors import Error

JOINED = getattr(dist, "joined", contextlib.nullcontext)
WORLDS = (2, 3, 4)
D = 12
Found = tuple[object, ...]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def crowded(n: int) -> Tensor:
    """Rows in one place but for a few, three of which are the same: most clusters of a bad start are empty."""
    x = F.normalize(1 + 0.1 * normal(n, D))
    return torch.cat([x, -x[:1].repeat(3, 1), F.normalize(normal(20, D, seed=1))])


def damaged() -> Tensor:
    x = normal(4000, D)
    x[[2900, 3100], 3] = torch.nan
    return x


def without_direction() -> Tensor:
    x = normal(4000, D)
    x[[2500, 3900]] = 0
    return x


def parts(fit: KMeans) -> Found:
    tensors = fit.centroids, fit.labels, fit.distances
    return *(part.numpy().tobytes() for part in tensors), fit.inertia, fit.rounds


def from_one_place(x: Tensor, k: int, spherical: bool, kind: type[AnyRows] = Rows) -> Found:
    """A fit whose seeds are all the same row."""
    return parts(_fit(kind(x, spherical), x[:1].repeat(k, 1), 6, spherical))


def assigned(x: Tensor, spherical: bool) -> Found:
    labels, distances = assign(x, F.normalize(normal(7, D, seed=5)), spherical)
    return labels.numpy().tobytes(), distances.numpy().tobytes()


def levels(x: Tensor) -> Found:
    found = hierarchical_kmeans(x, (60, 9), seed=0, resamplings=2)
    return tuple((level.centroids.numpy().tobytes(), level.labels.tobytes()) for level in found.levels)


def mapped(folder: Path) -> np.ndarray:
    return np.load(folder / "x.npy", mmap_mode="r")  # type: ignore[no-any-return]


def cases(folder: Path) -> dict[str, Callable[[], Found]]:
    """What each rank does, and what one process does."""
    noise, few = normal(5000, D), normal(1500, D)

    def fit(x: object, k: int, **options: object) -> Callable[[], Found]:
        return lambda: parts(kmeans(x, k, **{"seed": 1, "rounds": 4, "restarts": 2, **options}))  # type: ignore[arg-type]

    found: dict[str, Callable[[], Found]] = {
        "one cluster": fit(noise, 1),
        "seeds shared": fit(noise, 600, rounds=2, restarts=1),
        "fewer blocks than ranks": fit(few, 9),
        "fewer rows than a block": fit(noise[:30], 30),
        "a mapped file": lambda: fit(mapped(folder), 20)(),
        "seeds of a small sample": fit(crowded(3000), 12, sample=4),
        "on devices": lambda: from_one_place(noise, 4, True, DeviceRows),
        "levels": lambda: levels(few),
        "too few different rows": fit(normal(7, D).repeat(500, 1), 9),
        "not finite": fit(damaged(), 3),
        "no direction": fit(without_direction(), 3),
        "no rows": fit(noise[:0], 3),
    }
    for spherical in (True, False):
        for k in (5, 40):
            found |= {
                f"{precision} {k} {spherical} {copy}": fit(
                    noise, k, spherical=spherical, precision=precision, copy_bytes=copy
                )
                for precision, copy in (("fp32", 2**31), ("bf16", 2**31), ("bf16", 0))
            }
            found[f"empty {k} {spherical}"] = partial(from_one_place, crowded(3000), k, spherical)
        found[f"assigned {spherical}"] = partial(assigned, noise, spherical)
    return found


def answer(case: Callable[[], Found]) -> Found:
    try:
        return case()
    except Error as error:
        return type(error).__name__, str(error)


def share() -> Found:
    """The share of this rank, and of one that has all rows."""
    rows = Rows(normal(5000, 3), True)
    return len(rows.own), len(Rows(normal(5000, 3), True, shared=False).own), rows.shares.sizes


def stopped() -> Found:
    """The error of each rank when a signal comes to the last one alone."""
    if dist.rank() == dist.world_size() - 1:
        signals._received.append(signal.SIGTERM)
    try:
        return answer(lambda: parts(kmeans(normal(3000, D), 9, seed=0, rounds=50)))
    finally:
        signals._received.clear()


def rank_main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    for world in WORLDS:
        if rank >= world:
            continue
        td.init_process_group("gloo", init_method=f"file://{folder}/{world}", rank=rank, world_size=world)
        with JOINED():
            found = {name: answer(case) for name, case in cases(folder).items()}
            torch.save({**found, "share": share(), "stopped": stopped()}, folder / f"{world}.{rank}.pt")
        td.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kmeans-ranks")
    np.save(folder / "x.npy", normal(4500, D, seed=3).half().numpy())
    return folder


@pytest.fixture(scope="module")
def several(folder: Path) -> dict[int, list[dict[str, Found]]]:
    """The answers of each rank, by the number of ranks."""
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=rank_main, args=(rank, folder)) for rank in range(max(WORLDS))]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    assert [process.exitcode for process in processes] == [0] * len(processes)
    return {world: [torch.load(folder / f"{world}.{rank}.pt") for rank in range(world)] for world in WORLDS}


@pytest.mark.parametrize("name", cases(Path()))
def test_every_rank_has_the_bits_of_one_process(
    name: str, folder: Path, several: dict[int, list[dict[str, Found]]]
) -> None:
    expected = answer(cases(folder)[name])
    assert all(rank[name] == expected for found in several.values() for rank in found)


def test_the_cases_are_those_that_could_differ(folder: Path) -> None:
    """Among them are fits, and each of the errors."""
    answers = {name: answer(case) for name, case in cases(folder).items()}
    errors = {name: found for name, found in answers.items() if isinstance(found[0], str)}
    assert errors.keys() == {"too few different rows", "not finite", "no direction", "no rows"}
    assert "image 2900 " in str(errors["not finite"]) and "image 2500 " in str(errors["no direction"])


def test_each_row_belongs_to_one_rank_and_shares_are_alike(several: dict[int, list[dict[str, Found]]]) -> None:
    for found in several.values():
        own = [rank["share"][0] for rank in found]
        assert all(rank["share"][1:] == (5000, own) for rank in found)
        assert sum(own) == 5000 and max(own) - min(own) <= ranks.BLOCK  # type: ignore[arg-type, type-var, operator]


def test_the_places_of_blocks_do_not_depend_on_the_number_of_ranks() -> None:
    for n in (0, 1, 1024, 1025, 99_999):
        for world in range(1, 12):
            sizes = Shares(n, world).sizes
            assert sum(sizes) == n and len(sizes) == world
            assert all(start % ranks.BLOCK == 0 for start in np.cumsum(sizes) if start < n)


def test_a_signal_to_one_rank_stops_all(several: dict[int, list[dict[str, Found]]]) -> None:
    for found in several.values():
        for kind, said in (rank["stopped"] for rank in found):
            assert kind == "StoppedError" and "stopped by SIGTERM: this stage will begin again" in str(said)


# rows furthest from their centroids


@pytest.mark.parametrize("spare", [0, 64])
@pytest.mark.parametrize("kind", ["noise", "copies", "a far heap"])
def test_the_furthest_rows_are_those_of_the_loop(kind: str, spare: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few candidates are kept, so that they have to be looked for again."""
    monkeypatch.setattr(furthest, "SPARE", spare)
    monkeypatch.setattr(furthest, "EACH", 1)
    x = {
        "noise": normal(300, 5),
        "copies": normal(9, 5).repeat(30, 1),
        "a far heap": torch.cat([normal(100, 5), 20 + 0.1 * normal(100, 5)]),
    }[kind]
    rows = Rows(x, False)
    found = furthest_rows(rows, distances_from(rows, x[:1]), 8)
    assert torch.equal(found, x[slow.furthest_rows(x.double().numpy(), [0], 8)])
