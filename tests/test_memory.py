"""Memory banks and queues: their contents, the losses that use them, and the order of their updates."""

import math
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slow
import torch
import torch.nn.functional as F
from test_losses import close, normal, slope_of
from test_methods import AT, BATCH, CLOSE, SMALL, N, built, state, toy_batch, trainable, trained
from torch import Tensor

from divcon import dist
from divcon.losses import instance_nce, instance_softmax, similarities
from divcon.machine import Machine
from divcon.methods.contract import Step
from divcon.methods.local_aggregation import LocalAggregation, background_neighbors, close_neighbors, local_aggregation
from divcon.methods.moco import MoCo
from divcon.methods.moco_v3 import MoCoV3
from divcon.methods.npid import NPID, expected_normalizer, nce_of_chance, noise_positions
from divcon.nets.encoder import EncoderSpec, build
from divcon.nets.memory_bank import MemoryBank
from divcon.nets.momentum import Momentum, momentum_at

TEMPERATURES = [0.07, 0.5]


def encoder() -> torch.nn.Module:
    torch.manual_seed(0)
    return build(EncoderSpec("slim10_w8"), 16)


def unit(*shape: int, seed: int) -> Tensor:
    return F.normalize(normal(*shape, seed=seed), dim=-1)


def of(x: Tensor) -> slow.Array:
    return x.detach().double().numpy()


# banks


def test_a_bank_begins_as_directions_at_random() -> None:
    torch.manual_seed(0)
    rows = MemoryBank(4000, 8).rows
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(4000))
    assert rows.mean(0).abs().max() < 0.03 and (rows.T @ rows / 4000 - torch.eye(8) / 8).abs().max() < 0.01


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_a_bank_follows_as_the_loop_does_and_of_an_image_twice_in_a_batch_the_last_counts(momentum: float) -> None:
    torch.manual_seed(0)
    bank, index, z = MemoryBank(9, 4), torch.tensor([3, 7, 3, 0, 7, 7]), 5 * normal(6, 4)
    expected = slow.followed(of(bank.rows), index.tolist(), of(z), momentum)
    bank.follow(index, z, momentum)
    np.testing.assert_allclose(of(bank.rows), expected, atol=1e-6)
    assert list(bank.state_dict()) == ["rows"]


def test_a_bank_that_forgets_holds_what_was_seen_last() -> None:
    bank, z = MemoryBank(5, 3), normal(2, 3)
    before = bank.rows.clone()
    bank.follow(torch.tensor([4, 1]), z, 0.0)
    torch.testing.assert_close(bank.rows[[4, 1]], F.normalize(z, dim=1))
    assert torch.equal(bank.rows[[0, 2, 3]], before[[0, 2, 3]])


# instance recognition


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_the_softmax_over_instances_is_the_loop_and_so_is_its_gradient(temperature: float) -> None:
    z, bank, index = 3 * normal(4, 3), unit(7, 3, seed=1), torch.tensor([6, 2, 2, 0])
    args = of(bank), index.tolist(), temperature
    assert float(instance_softmax(z, bank, index, temperature)) == pytest.approx(
        slow.instance_softmax(of(z), *args), rel=1e-5
    )
    slope = slow.gradient(lambda u: slow.instance_softmax(u, *args), of(z))
    assert close(slope_of(lambda u: instance_softmax(u, bank, index, temperature), z), slope)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("normalizer", [1.0, 2.25])
def test_noise_contrastive_estimation_is_the_loop_and_so_is_its_gradient(temperature: float, normalizer: float) -> None:
    z, bank, index = 3 * normal(4, 3), unit(7, 3, seed=1), torch.tensor([6, 2, 2, 0])
    noise = torch.randint(7, (4, 5), generator=torch.Generator().manual_seed(2))
    args = of(bank), index.tolist(), noise.tolist(), temperature, normalizer
    found = instance_nce(z, bank, index, noise, temperature, normalizer)
    assert float(found) == pytest.approx(slow.instance_nce(of(z), *args), rel=1e-5)
    slope = slow.gradient(lambda u: slow.instance_nce(u, *args), of(z))
    assert close(slope_of(lambda u: instance_nce(u, bank, index, noise, temperature, normalizer), z), slope)


def test_one_that_sees_no_image_in_another_has_the_loss_of_chance() -> None:
    z, bank = torch.eye(6)[:2], torch.eye(6)[2:]
    noise = torch.randint(4, (2, 50), generator=torch.Generator().manual_seed(0))
    found = float(instance_nce(z, bank, torch.tensor([0, 1]), noise, 0.07, 1.0))
    assert found == pytest.approx(nce_of_chance(50), rel=1e-5)
    assert float(instance_softmax(z, bank, torch.tensor([0, 1]), 0.07)) == pytest.approx(math.log(4), rel=1e-6)


@pytest.mark.parametrize(("dim", "temperature"), [(128, 0.07), (16, 0.2), (3, 0.5)])
def test_the_normalizer_is_that_of_directions_at_random(dim: int, temperature: float) -> None:
    some, rows = unit(400, dim, seed=0), unit(2000, dim, seed=1)
    measured = float(similarities(some, rows, temperature).exp().mean())
    assert expected_normalizer(dim, temperature) == pytest.approx(measured, rel=0.02)
    assert expected_normalizer(128, 0.07) == pytest.approx(2876934.2 / 1281167, rel=0.02)  # the authors' for ImageNet


def test_scores_are_computed_in_float32_where_all_else_is_in_bf16() -> None:
    z, bank, index, noise = normal(4, 16), unit(9, 16, seed=1), torch.arange(4), torch.arange(36).view(4, 9) % 9
    full = [similarities(z, bank, 0.07), instance_nce(z, bank, index, noise, 0.07, 2.0)]
    with Machine(precision="bf16").autocast():
        half = [similarities(z, bank, 0.07), instance_nce(z, bank, index, noise, 0.07, 2.0)]
        assert (z @ bank.T).dtype == torch.bfloat16
    assert all(torch.equal(a, b) for a, b in zip(full, half))


def test_each_image_has_noise_of_its_own_and_ranks_share_what_one_would_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(index: Tensor) -> Tensor:
        torch.manual_seed(3)
        return noise_positions(index, 6, 100)

    whole, parts = drawn(torch.arange(8)), []
    assert len(whole.unique(dim=0)) == 8 and int(whole.min()) >= 0 and int(whole.max()) < 100
    monkeypatch.setattr(dist, "world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(dist, "rank", lambda rank=rank: rank)
        parts.append(drawn(torch.arange(4)))
    assert torch.equal(torch.cat(parts), whole)


def test_instance_recognition_remembers_half_of_what_it_saw() -> None:
    method = built("npid")
    assert isinstance(method, NPID)
    batch, before = toy_batch("npid"), method.bank.rows.clone()
    seen = F.normalize(method.net(batch.views[0]).detach(), dim=1)
    method.after_step(method(batch, AT).update, AT)
    expected = F.normalize((before[batch.index] + seen) / 2, dim=1)
    torch.testing.assert_close(method.bank.rows[batch.index], expected, atol=1e-5, rtol=0)
    assert torch.equal(method.bank.rows[BATCH:], before[BATCH:])


@pytest.mark.parametrize("name", ["npid", "local_aggregation"])
def test_the_papers_projection_is_one_linear_layer_of_the_pool(name: str) -> None:
    method = built(name, hidden=0)
    method.eval()
    images = toy_batch(name).views[0]
    assert method.net.projector is not None
    (linear,) = (m for m in method.net.projector.modules() if isinstance(m, torch.nn.Linear))
    torch.testing.assert_close(method.net(images), linear(method.net(images, "pool")))
    assert torch.equal(method.net(images, "hidden"), method.net(images, "pool")) and linear.bias is not None


# local aggregation


def test_background_neighbors_are_the_nearest_rows_and_the_image_itself() -> None:
    z, bank, index = normal(5, 3), unit(12, 3, seed=1), torch.tensor([0, 5, 11, 3, 5])
    found = background_neighbors(similarities(z, bank, 0.07), index, 4)
    for row, own, near in zip(z, index.tolist(), found.tolist()):
        others = [j for j in slow.nearest_rows(of(row), of(bank), 12) if j != own]
        assert set(near) == {own, *others[:3]} and len(near) == 4
    assert {*background_neighbors(similarities(z, bank, 0.07), index, 12)[0].tolist()} == set(range(12))


def test_close_neighbors_are_those_of_any_clustering() -> None:
    labels = torch.tensor([[0, 0, 1, 1, 2, 2], [5, 6, 6, 7, 7, 5]])  # 0: {0, 1} and {0, 5}; 3: {2, 3} and {3, 4}
    everyone = torch.arange(6).expand(2, 6)
    found = close_neighbors(everyone, torch.tensor([0, 3]), labels)
    assert found.tolist() == [[True, True, False, False, False, True], [False, False, True, True, True, False]]
    assert close_neighbors(torch.tensor([[4, 5, 0]]), torch.tensor([0]), labels).tolist() == [[False, True, True]]


def test_aggregation_is_the_share_of_what_is_close() -> None:
    scores = torch.log(torch.tensor([[1.0, 2.0, 5.0], [3.0, 1.0, 1.0]])).requires_grad_()
    close_by = torch.tensor([[True, True, False], [True, True, True]])
    loss = local_aggregation(scores, close_by)
    assert float(loss.detach()) == pytest.approx(-math.log(3 / 8) / 2)
    loss.backward()
    assert scores.grad is not None and torch.isfinite(scores.grad).all() and float(scores.grad[1].abs().max()) < 1e-6


@pytest.mark.parametrize("neighbors", [6, 64])
def test_local_aggregation_is_the_loop_and_so_is_its_gradient(neighbors: int) -> None:
    method = built(CLOSE, neighbors=neighbors, temperature=0.2, clusterings=2)
    assert isinstance(method, LocalAggregation)
    z, index = normal(4, SMALL["dim"]), torch.tensor([9, 33, 63, 0])
    args = of(method.bank.rows), index.tolist(), method.labels.tolist(), neighbors, 0.2

    def loss(u: Tensor) -> Tensor:
        scores = similarities(u, method.bank.rows, 0.2)
        background = background_neighbors(scores.detach(), index, neighbors)
        return local_aggregation(scores.gather(1, background), close_neighbors(background, index, method.labels))

    assert float(loss(z)) == pytest.approx(slow.local_aggregation(of(z), *args), rel=1e-5)
    assert close(slope_of(loss, z), slow.gradient(lambda u: slow.local_aggregation(u, *args), of(z)))
    batch = toy_batch(CLOSE)
    seen = of(method.net(batch.views[0]))
    whole = slow.local_aggregation(seen, args[0], batch.index.tolist(), *args[2:])
    assert float(method(batch, AT).loss.detach()) == pytest.approx(whole, rel=1e-4)


def nothing(place: Any) -> Tensor:
    raise AssertionError("it has a memory of its own to look at")


def test_it_begins_as_instance_recognition_with_the_same_net_and_bank() -> None:
    method, other = built("local_aggregation", negatives=0, recognition=0.3), built("npid", negatives=0)
    assert isinstance(method, LocalAggregation) and isinstance(other, NPID)
    batch, before = toy_batch("npid"), method.bank.rows.clone()
    method.before_epoch(nothing, Step(0, 10, 0))
    assert torch.equal(method(batch, AT).loss, other(batch, AT).loss)
    method.before_epoch(nothing, Step(2, 10, 1))
    assert not method.has_labels and method(batch, AT).loss == other(batch, AT).loss
    method.before_epoch(nothing, Step(4, 10, 2))
    assert (
        method.has_labels and method(batch, AT).loss < other(batch, AT).loss and torch.equal(method.bank.rows, before)
    )


def test_each_clustering_differs_and_each_pass_clusters_again() -> None:
    method = built(CLOSE, clusterings=3, clusters=7)
    assert isinstance(method, LocalAggregation)
    first = method.labels.clone()
    assert [len(labels.unique()) for labels in first] == [7] * 3 and len(first.unique(dim=0)) == 3
    method.before_epoch(nothing, Step(4, 10, 1))
    assert len(torch.cat([first, method.labels]).unique(dim=0)) == 6
    method.before_epoch(nothing, Step(0, 10, 0))
    assert torch.equal(method.labels, first)


def test_some_neighbors_are_close_and_others_are_not(tmp_path: Path) -> None:
    journal = trained(CLOSE, tmp_path, 8, clusterings=2)
    assert all(1 / N < line["close"] < 0.6 for line in journal)


def test_a_small_collection_has_no_more_clusters_than_it_can_fill() -> None:
    method = LocalAggregation(encoder(), 20, dim=4)
    assert (method.clusters, method.neighbors) == (2, 20)
    full = LocalAggregation(encoder(), 300_000, dim=1, clusterings=1)
    assert (full.clusters, full.neighbors) == (30_000, 4096)


# MoCo


def test_the_queue_is_a_ring_of_the_last_keys() -> None:
    method = built("moco", queue=12)
    assert isinstance(method, MoCo)
    last: deque[Tensor] = deque(method.queue.clone(), maxlen=12)
    for step, size in enumerate([5, 5, 5, 1, 12, 7, 30, 3]):
        keys = unit(size, SMALL["dim"], seed=step)
        method.after_step((keys,), AT)
        last.extend(keys)
        found = method.queue.roll(-int(method.queue_position), 0)  # from the oldest on
        torch.testing.assert_close(found, torch.stack(list(last)))


def test_the_queue_holds_half_of_a_small_collection_at_most() -> None:
    assert [len(MoCo(encoder(), n).queue) for n in (2, 31, 200_000)] == [1, 15, 65_536]
    assert len(MoCo(encoder(), 1000, queue=100).queue) == 100


def steps_of(method: MoCo, early: bool) -> tuple[list[Tensor], list[float]]:
    """Keys and losses of four steps of SGD. Early: the momentum network moves at the start of a step, as in MoCo's
    algorithm 1, and not at the end of the one before."""
    optimizer = torch.optim.SGD(list(trainable(method).values()), lr=0.5)
    keys: list[Tensor] = []
    losses: list[float] = []
    for step in range(4):
        at = Step(step, 4, 0)
        if early:
            method.target.follow(method.net, method.momentum_of(at))
        outcome = method(toy_batch("moco", seed=step), at)
        optimizer.zero_grad()
        outcome.loss.backward()
        optimizer.step()
        before = state(method.target)
        method.after_step(outcome.update, at)
        if early:
            method.target.load_state_dict(before)
        keys.append(outcome.update[0])
        losses.append(float(outcome.loss.detach()))
    return keys, losses


def test_keys_are_those_of_a_momentum_encoder_that_was_moved_before_them() -> None:
    ours, theirs = (built("moco", momentum=0.5) for _ in range(2))
    assert isinstance(ours, MoCo) and isinstance(theirs, MoCo)
    (keys, losses), (expected, its_losses) = steps_of(ours, early=False), steps_of(theirs, early=True)
    for a, b in zip(keys, expected):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)
    assert losses == pytest.approx(its_losses, rel=1e-5)
    still = built("moco", momentum=1.0)
    assert isinstance(still, MoCo)
    assert (steps_of(still, early=False)[0][-1] - keys[-1]).abs().max() > 1e-3


def test_mocos_momentum_is_constant_and_that_of_the_others_rises() -> None:
    for name in ("moco", "moco_v3", "byol", "moclr"):
        method: Any = built(name, momentum=0.9)
        course = [method.momentum_of(Step(step, 10, 0)) for step in range(11)]
        expected = [0.9] * 11 if name == "moco" else [momentum_at(0.9, step, 10) for step in range(11)]
        assert course == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_moco_v3_is_the_loop(temperature: float) -> None:
    method, batch = built("moco_v3", temperature=temperature), toy_batch("moco_v3")
    assert isinstance(method, MoCoV3) and isinstance(method.target, Momentum)
    with torch.no_grad():
        for p in method.target.parameters():
            p.mul_(1.1)
        queries = [of(method.predictor(method.net(view))) for view in batch.views]
        keys = [of(method.target(view)) for view in batch.views]
    expected = slow.moco_v3(queries, keys, temperature)
    outcome = method(batch, AT)
    assert float(outcome.loss.detach()) == pytest.approx(expected, rel=1e-4)
    assert outcome.chance == pytest.approx(4 * temperature * math.log(BATCH))


def test_the_gradient_of_moco_v3_is_that_of_the_loop_in_what_it_predicts() -> None:
    method, batch = built("moco_v3"), toy_batch("moco_v3")
    assert isinstance(method, MoCoV3)
    last = method.predictor[-1]
    with torch.no_grad():
        keys = [of(method.target(view)) for view in batch.views]
        before = [method.predictor[:-1](method.net(view)) for view in batch.views]
        weight, bias = of(last.weight), of(last.bias)
    method(batch, AT).loss.backward()

    def loss(its_bias: slow.Array) -> float:
        return slow.moco_v3([of(x) @ weight.T + its_bias for x in before], keys, 1.0)

    assert last.bias.grad is not None and close(last.bias.grad, slow.gradient(loss, bias))
