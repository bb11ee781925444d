"""Two and three ranks give the results of one: the same images, loss, gradients and statistics, except for rounding."""

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import torch.distributed as td
from test_methods import (
    AT,
    KINDS,
    PAIR,
    SIGHT,
    SIZE,
    N,
    built,
    loss_of,
    mine,
    state,
    toy_batch,
    toy_pixels,
    trainable,
)
from torch import Tensor, nn
from torch._C._distributed_c10d import FileStore

from divcon import dist, signals
from divcon.errors import FaultError, StoppedError
from divcon.losses import info_nce, nt_xent
from divcon.machine import Machine
from divcon.methods.contract import Batch
from divcon.nets.batch_norm import BatchNorm
from divcon.nets.encoder import EncoderSpec, build
from divcon.nets.net import Net
from divcon.nets.trained import InputSpec
from divcon.ranks import Place
from divcon.runs.metrics_file import read_lines
from divcon.runs.stage import StageContext
from divcon.train import checkpoints
from divcon.train import encode as encoding
from divcon.train.loop import Training, fit, train_step
from divcon.train.optimizers import make_optimizer

BATCH = 12  # of all ranks
MAPS = torch.randn(6, 4, 5, 5, generator=torch.Generator().manual_seed(0)) * 3 + 2
ROWS = torch.randn(12, 5, generator=torch.Generator().manual_seed(1))
LOSSES = {"info_nce": info_nce, "nt_xent": nt_xent}
STEPS = 2


# what each rank does, and what one process does instead: both are given their part of the rows


def everything(folder: Path) -> dict[str, Any]:
    """All that is compared, by name."""
    return {
        "methods": of_methods(),
        "norms": {len(x.shape): of_norm(x) for x in (ROWS, MAPS)},
        "bf16": of_norm(MAPS.bfloat16()),
        "losses": {name: of_loss(name) for name in LOSSES},
        "trained": of_training(folder),
        "resumed": of_training(folder, steps=2 * STEPS),
        "cycles": of_cycles(folder / "cycles"),
    }


def of_methods() -> dict[str, Any]:
    """The results of every method, with SiLU for ReLU: at the kink of a ReLU, rounding would change the gradient."""
    with smooth():
        return {name: of_method(name) for name in KINDS}


def smooth() -> AbstractContextManager[object]:
    return mock.patch.object(torch.nn.functional, "relu", lambda x, inplace=False: torch.nn.functional.silu(x))


def of_method(name: str) -> dict[str, Any]:
    method, whole = built(name), toy_batch(name, np.arange(BATCH))
    batch = Batch([mine(view) for view in whole.views], mine(whole.index))
    loss = loss_of(method, batch)
    loss.backward()
    dist.all_mean([p.grad for p in trainable(method).values() if p.grad is not None])
    torch.manual_seed(0)
    method.after_step(method(batch, AT).update, AT)
    return {
        "loss": dist.all_sum(loss.detach()) / dist.world_size(),
        "gradients": {key: p.grad for key, p in trainable(method).items()},
        "state": state(method),
    }


def of_norm(x: Tensor) -> dict[str, Tensor]:
    norm, part = BatchNorm(x.shape[1]), mine(x).clone().requires_grad_()
    with torch.no_grad():
        norm.weight.mul_(1.5)
    seen = norm(part)
    (seen * mine(x.flip(0)).sin()).sum().backward()
    assert part.grad is not None and norm.weight.grad is not None and norm.bias.grad is not None
    dist.all_mean([norm.weight.grad, norm.bias.grad])
    sums = {"seen": dist.all_gather(seen.detach()), "slope": dist.all_gather(part.grad)}
    return {**sums, "weight": norm.weight.grad * dist.world_size(), **norm.state_dict()}


def of_loss(name: str) -> dict[str, Tensor]:
    a = mine(ROWS).clone().requires_grad_()
    loss = LOSSES[name](a, mine(ROWS.flip(0) + ROWS), 0.2)
    loss.backward()
    assert a.grad is not None
    return {
        "loss": dist.all_sum(loss.detach()) / dist.world_size(),
        "slope": dist.all_gather(a.grad) / dist.world_size(),
    }


def of_training(folder: Path, steps: int = STEPS, cycles: int = 1) -> dict[str, Tensor]:
    """The state after so many steps of the loop, from the checkpoint that is in the folder."""
    method, work = built("moclr"), StageContext(folder, "base", Machine(), folder)
    training = Training(steps * BATCH, BATCH, optimizer="sgd", lr=0.02, warmup=0, cycles=cycles)
    fit(work, method, toy_pixels(), training, PAIR, SIGHT)
    return state(method)


def of_cycles(folder: Path) -> dict[str, Tensor]:
    """The state after two cycles."""
    folder.mkdir(exist_ok=True)
    with smooth():
        return of_training(folder, steps=2 * STEPS, cycles=2)


def alone_at_fault(where: int) -> str:
    """Break the images of one rank only; return the message of this rank, and check that no weight moved."""
    method, whole = built("moclr"), toy_batch("moclr", np.arange(BATCH))
    views = [mine(view) * (float("nan") if dist.rank() == where else 1.0) for view in whole.views]
    before = [p.clone() for p in trainable(method).values()]
    try:
        train_step(method, make_optimizer("sgd", method, 0.0), Batch(views, mine(whole.index)), AT, 0.1, Machine())
    except FaultError as error:
        assert all(torch.equal(a, b) for a, b in zip(before, trainable(method).values()))
        return str(error)
    return ""


def stopped_alone(where: int) -> list[str]:
    """Let a signal come to one rank, before the features of some images are computed and in the middle; the messages."""
    said, net = list[str](), Net(build(EncoderSpec("slim10_w8"), SIZE))

    def signaled(*progress: object) -> None:
        if dist.rank() == where:
            signals._received.append(signal.SIGTERM)

    for before in (True, False):
        if before:
            signaled()
        try:
            with mock.patch.object(encoding, "CHUNK", 2), mock.patch.object(encoding, "progress", signaled):
                encoding.encode(net, InputSpec(SIZE), toy_pixels(), Machine())
        except StoppedError as error:
            said.append(str(error))
        finally:
            signals._received.clear()
    return said


def rank_main(rank: int, world: int, folder: Path) -> None:
    torch.set_num_threads(1)
    with dist.joined(FileStore(f"{folder}/store", world), Place(rank, world, rank, "", 0)):
        result = everything(folder / "run")
        result["identity"] = {"world": dist.world_size(), "rank": dist.rank()}
        result["any"] = dist.any_rank(False, dist.rank() == 1)
        result["fault"] = alone_at_fault(1)
        result["stopped"] = stopped_alone(1)
        result["first"] = dist.on_leader(lambda: rank)
        torch.save(result, folder / f"{rank}.pt")


@pytest.fixture(scope="module", params=[pytest.param(2, marks=pytest.mark.slow), 3])
def ranks(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """The results of each of two, and of three ranks."""
    world, folder = request.param, tmp_path_factory.mktemp(f"ranks{request.param}")
    (folder / "run").mkdir()
    spawn = multiprocessing.get_context("spawn")
    ranks = [spawn.Process(target=rank_main, args=(rank, world, folder)) for rank in range(world)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(240)
    assert [process.exitcode for process in ranks] == [0] * world
    return [torch.load(folder / f"{rank}.pt") | {"folder": folder} for rank in range(world)]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The results of one process with all rows."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield everything(tmp_path_factory.mktemp("alone"))
    torch.set_num_threads(threads)


def assert_alike(found: Any, expected: Any, rounding: float = 3e-5) -> None:
    """But for rounding, which is in proportion to a tensor's largest value."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_alike(found[key], expected[key], rounding)
    else:
        found, expected = found.double(), expected.double()
        torch.testing.assert_close(found, expected, atol=1e-5 + rounding * float(expected.abs().max()), rtol=0)


def weights_of(training: dict[str, Tensor]) -> Tensor:
    return torch.cat([value.flatten() for key, value in training.items() if key.startswith("net.encoder.conv")])


@pytest.mark.parametrize("name", KINDS)
def test_ranks_have_the_loss_and_the_gradient_of_one(
    name: str, one: dict[str, Any], ranks: list[dict[str, Any]]
) -> None:
    for rank in ranks:
        assert_alike(rank["methods"][name]["loss"], one["methods"][name]["loss"])
        # tiles of nine pixels without their tone: a millionth more or less in a pixel moves a gradient by 6e-3
        rounding = 1e-2 if name == "jigsaw" else 3e-5
        assert_alike(rank["methods"][name]["gradients"], one["methods"][name]["gradients"], rounding)


@pytest.mark.parametrize("name", KINDS)
def test_ranks_remember_after_a_step_what_one_does(name: str, one: dict[str, Any], ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        assert_alike(rank["methods"][name]["state"], one["methods"][name]["state"])


@pytest.mark.parametrize("dimensions", [2, 4])
def test_batch_norm_is_over_the_batch_of_all_ranks(
    dimensions: int, one: dict[str, Any], ranks: list[dict[str, Any]]
) -> None:
    x = ROWS if dimensions == 2 else MAPS
    torchs: nn.Module = nn.BatchNorm1d(5) if dimensions == 2 else nn.BatchNorm2d(4)
    assert_alike(1.5 * torchs(x).detach(), one["norms"][dimensions]["seen"])
    for rank in ranks:
        assert_alike(rank["norms"][dimensions], one["norms"][dimensions])


def test_batch_norm_of_bf16_maps_has_statistics_in_float32_and_maps_in_bf16(
    one: dict[str, Any], ranks: list[dict[str, Any]]
) -> None:
    for rank in ranks:
        mine, right = rank["bf16"], one["norms"][4]
        assert mine["seen"].dtype == mine["slope"].dtype == torch.bfloat16
        assert mine["running_var"].dtype == torch.float32
        assert_alike(mine["running_var"], one["bf16"]["running_var"])
        for name in ("seen", "slope", "weight"):  # two values in bf16 are rounded and added
            torch.testing.assert_close(mine[name].float(), right[name].float(), rtol=2e-2, atol=3e-2)


@pytest.mark.parametrize("name", LOSSES)
def test_negatives_come_from_all_ranks(name: str, one: dict[str, Any], ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        assert_alike(rank["losses"][name], one["losses"][name])
    halves = [LOSSES[name](a, b, 0.2) for a, b in zip(ROWS.split(4), (ROWS.flip(0) + ROWS).split(4))]
    assert float(torch.stack(halves).mean()) < float(ranks[0]["losses"][name]["loss"]) - 0.1


def test_ranks_train_as_one_does_and_go_on_from_their_checkpoint(
    one: dict[str, Any], ranks: list[dict[str, Any]]
) -> None:
    begin = place = weights_of(state(built("moclr")))
    for part in ("trained", "resumed", "cycles"):
        place = begin if part == "cycles" else place
        assert all(torch.equal(value, ranks[1][part][key]) for key, value in ranks[0][part].items())
        end, gone = weights_of(one[part]), (weights_of(one[part]) - place).norm()
        assert gone > 0.01 and (weights_of(ranks[0][part]) - end).norm() < 0.01 * gone
        place = end


def test_only_the_first_rank_decides(ranks: list[dict[str, Any]]) -> None:
    assert [rank["first"] for rank in ranks] == [0] * len(ranks)


def test_the_journal_of_several_ranks_has_each_step_once(ranks: list[dict[str, Any]]) -> None:
    folder = ranks[0]["folder"]
    journal = read_lines(folder / "run" / "metrics.jsonl")
    assert [line["step"] for line in journal] == list(range(2 * STEPS)) and journal[-1]["batch_size"] == BATCH
    assert [p.name for p in (folder / "run" / "checkpoints").iterdir() if checkpoints.damaged(p)] == []
    assert (
        not list((folder / "run").rglob("*.part"))
        and max(line["epoch"] for line in journal) == (2 * STEPS - 1) * BATCH // N
    )


def test_a_fault_on_one_rank_stops_all_of_them_before_any_weight_moves(ranks: list[dict[str, Any]]) -> None:
    assert all("the weights were not moved" in rank["fault"] for rank in ranks)


def test_a_signal_to_one_rank_stops_all_of_them_while_they_encode(ranks: list[dict[str, Any]]) -> None:
    assert all(
        rank["stopped"] == ["stopped by SIGTERM: this stage will begin again; type the same command again to go on"] * 2
        for rank in ranks
    )


def test_what_one_rank_is_asked_all_of_them_hear(ranks: list[dict[str, Any]]) -> None:
    assert [rank["any"] for rank in ranks] == [(False, True)] * len(ranks)
    assert [rank["identity"] for rank in ranks] == [{"world": len(ranks), "rank": i} for i in range(len(ranks))]


def test_on_one_process_every_function_is_the_identity() -> None:
    x = torch.randn(3, 2, requires_grad=True)
    x.grad = torch.ones_like(x)
    dist.all_mean([x.grad])
    done: list[int] = []
    dist.on_leader(lambda: done.append(1))
    assert dist.all_gather(x) is x and dist.all_sum(x) is x and torch.equal(x.grad, torch.ones_like(x))
    assert (dist.world_size(), dist.rank(), dist.any_rank(True, False), done) == (1, 0, (True, False), [1])
    assert dist.mean_of([1.5]) == [1.5] and dist.gather_rows(x, [3]) is x and dist.is_leader()
    assert not td.is_initialized() and np.isfinite(x.detach().numpy()).all()
