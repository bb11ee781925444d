"""SwAV and DeepCluster v2: codes against others' code, many views of many sizes, what stands still and what is kept."""

import math

import numpy as np
import pytest
import slow
import torch
import torch.nn.functional as F
from lightly.loss import SwaVLoss
from lightly.loss.swav_loss import sinkhorn as lightly_sinkhorn
from test_methods import AT, BATCH, PAIR, N, built, toy_batch
from torch import Tensor

from divcon.data.views.presets import small_crops, swav
from divcon.data.views.view import View
from divcon.errors import UsageError
from divcon.losses import sinkhorn, swapped_prediction
from divcon.machine import Machine
from divcon.methods.contract import Step
from divcon.methods.deepcluster_v2 import DeepClusterV2
from divcon.methods.registry import checked_options
from divcon.methods.swav import SwAV
from divcon.train.collapse import CHANCE_RATIO
from divcon.train.loop import train_step
from divcon.train.optimizers import Name, make_optimizer


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def scores(b: int, k: int, seed: int = 0) -> Tensor:
    return F.normalize(normal(b, 16, seed=seed), dim=1) @ F.normalize(normal(k, 16, seed=99), dim=1).T


@pytest.mark.parametrize("epsilon", [0.03, 0.05, 1.0])
@pytest.mark.parametrize("rounds", [1, 3, 10])
def test_codes_are_lightlys_and_those_of_a_loop(epsilon: float, rounds: int) -> None:
    x = scores(24, 10)
    found = sinkhorn(x, epsilon, rounds)
    torch.testing.assert_close(found, lightly_sinkhorn(x.clone(), rounds, epsilon), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        found, torch.from_numpy(slow.sinkhorn(x.double().numpy(), epsilon, rounds)).float(), atol=1e-5, rtol=1e-5
    )


def test_codes_fill_clusters_alike_however_the_scores_lean() -> None:
    x = scores(300, 6) + torch.tensor([0.5, 0, 0, 0, 0, 0])
    codes = sinkhorn(x, 0.05, 50)
    torch.testing.assert_close(codes.sum(1), torch.ones(300))
    torch.testing.assert_close(codes.sum(0), torch.full((6,), 50.0), rtol=0.02, atol=0)
    assert torch.isfinite(sinkhorn(torch.tensor([[1.0, -1.0], [1.0, -1.0]]), 0.001, 3)).all()


@pytest.mark.parametrize("small", [0, 3])
def test_the_loss_and_its_gradient_are_lightlys(small: int) -> None:
    ours = [scores(16, 10, seed=i).requires_grad_() for i in range(2 + small)]
    theirs = [x.detach().clone().requires_grad_() for x in ours]
    loss = swapped_prediction(ours, [sinkhorn(x.detach(), 0.05, 3) for x in ours[:2]], 0.1)
    expected = SwaVLoss()(theirs[:2], theirs[2:]).squeeze()
    torch.autograd.backward([loss, expected])
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-6, rtol=1e-5)


def test_images_of_a_queue_take_part_in_the_division_as_lightlys_do() -> None:
    x, queued = [scores(8, 10, seed=i) for i in range(2)], [scores(20, 10, seed=5 + i) for i in range(2)]
    codes = [sinkhorn(torch.cat([a, q]), 0.05, 3)[:8] for a, q in zip(x, queued)]
    expected = SwaVLoss()([a.clone() for a in x], [], queued).squeeze()
    torch.testing.assert_close(swapped_prediction(x, codes, 0.1), expected, atol=1e-5, rtol=1e-5)


def test_a_network_that_tells_nothing_apart_pays_ln_k_and_that_is_noticed() -> None:
    alike = torch.zeros(16, 10)
    assert float(swapped_prediction([alike, alike], [sinkhorn(alike, 0.05, 3)] * 2, 0.1)) == pytest.approx(math.log(10))
    outcome = built("swav")(toy_batch("swav"), AT)
    assert outcome.chance == pytest.approx(math.log(10)) and outcome.loss.item() < 3 * outcome.chance
    assert CHANCE_RATIO < 1


# views


@pytest.mark.parametrize("name", ["swav", "deepcluster_v2"])
@pytest.mark.parametrize(("crops", "share", "sizes"), [(0, 0.5, [16, 16]), (1, 0.5, [16, 16, 8]), (5, 1.0, [16] * 7)])
def test_any_number_of_views_of_any_size_is_learned_from(name: str, crops: int, share: float, sizes: list[int]) -> None:
    method = built(name, crops=crops, crop_share=share)
    assert [view.size for view in method.views(PAIR)] == sizes
    batch = toy_batch(name)
    views = [F.interpolate(batch.views[0], (size, size)) for size in sizes]
    loss = method(type(batch)(views, batch.index), AT).loss
    loss.backward()
    assert torch.isfinite(loss) and all(p.grad is not None for p in method.parameters())


def test_small_views_are_the_papers() -> None:
    large = swav(224)[0]
    small = small_crops(large, 6, 96 / 224)
    assert large.area == (0.14, 1.0) and len(small) == 6
    assert small[0].size == 96 and small[0].area == pytest.approx((0.05, 0.14)) and small[0].blur == large.blur


def test_each_view_counts_in_the_loss() -> None:
    method, batch = built("swav", crops=2), toy_batch("swav")
    small = batch.views[2]
    one = method(type(batch)([*batch.views[:2], small, small], batch.index), AT).loss
    other = method(type(batch)([*batch.views[:2], small, small.flip(0)], batch.index), AT).loss
    assert float(one) != pytest.approx(float(other), abs=1e-4)


# what stands still


@pytest.mark.parametrize("name", ["sgd", "adamw", "lars", "larc"])
def test_prototypes_are_held_still_at_the_start_and_only_then(name: Name) -> None:
    """By any optimizer: a decay must not shrink them either."""
    method = built("swav", hold=0.5)
    assert isinstance(method, SwAV)
    optimizer, lengths = make_optimizer(name, method, 1e-2), []
    for step in range(7):
        lengths.append(method.prototypes.weight.norm(dim=1).mean().item())
        train_step(method, optimizer, toy_batch("swav"), Step(step, 10, 0), 0.1, Machine())
    assert lengths[:6] == pytest.approx([lengths[0]] * 6, rel=2e-2 if name in ("sgd", "adamw") else 1e-6)
    moved = built("swav").prototypes.weight - method.prototypes.weight
    assert moved.abs().max() > 1e-4


def test_a_loss_at_chance_is_no_news_while_prototypes_are_held() -> None:
    method, batch = built("swav", hold=0.5), toy_batch("swav")
    assert method(batch, Step(4, 10, 0)).chance is None and method(batch, Step(5, 10, 0)).chance == math.log(10)


def test_prototypes_have_length_one_in_the_forward_whatever_their_weights() -> None:
    method, batch = built("swav", hold=0.0), toy_batch("swav")
    assert isinstance(method, SwAV)
    before = method(batch, AT).loss
    with torch.no_grad():
        method.prototypes.weight.mul_(torch.rand(10, 1) + 0.5)
    torch.testing.assert_close(method(batch, AT).loss, before, atol=1e-5, rtol=1e-5)


def test_a_queue_is_used_once_it_is_full_and_its_pass_has_come_and_drops_the_oldest() -> None:
    method, batch = built("swav", queue=24, queue_from=1), toy_batch("swav")
    assert isinstance(method, SwAV)
    first, late = method(batch, Step(0, 10, 0)), Step(3, 10, 1)
    method.after_step(first.update, late)
    assert int(method.filled) == 16
    torch.testing.assert_close(method(batch, late).loss, first.loss)  # not full yet
    method.after_step(tuple(part + 1 for part in first.update), late)
    assert int(method.filled) == 24
    torch.testing.assert_close(method.queue[0, :16], first.update[0] + 1)
    torch.testing.assert_close(method.queue[1, 16:], first.update[1][:8])
    torch.testing.assert_close(method(batch, Step(3, 10, 0)).loss, first.loss)  # its pass has not come
    assert float(method(batch, late).loss) != pytest.approx(float(first.loss), abs=1e-4)


def test_impossible_settings_are_refused() -> None:
    for option in ({"prototypes": 0}, {"epsilon": 0}, {"crops": -1}, {"crop_share": 2}):
        with pytest.raises(UsageError, match=next(iter(option))):
            checked_options("swav", option)


# DeepCluster v2


def deepcluster(**options: int) -> DeepClusterV2:
    method = built("deepcluster_v2", **options)
    assert isinstance(method, DeepClusterV2)
    return method


def test_the_first_pass_begins_with_a_look_and_later_ones_with_what_was_seen() -> None:
    method, looks = deepcluster(), []

    def look(place: str) -> Tensor:
        looks.append(place)
        return normal(N, 16)

    method.before_epoch(look, Step(0, 20, 0))
    before = method.labels.clone()
    method.after_step((torch.arange(N), normal(N, 16, seed=3), normal(N, 16, seed=4)), Step(3, 20, 0))
    method.before_epoch(look, Step(4, 20, 1))
    assert looks == ["projection"]
    assert not torch.equal(before, method.labels)
    torch.testing.assert_close(method.bank.rows, F.normalize(normal(N, 16, seed=3), dim=1))


def test_labels_are_the_nearest_centroids_by_cosine_and_centroids_have_length_one() -> None:
    method = deepcluster()
    method.before_epoch(lambda _: normal(N, 16), Step(0, 20, 0))
    torch.testing.assert_close(method.centroids.norm(dim=2), torch.ones(2, 6))
    for head, rows in enumerate((method.bank.rows, method.other_bank.rows)):
        assert torch.equal((rows @ method.centroids[head].T).argmax(1), method.labels[head])


def pay(logits: Tensor, truth: Tensor) -> float:
    """-log of the share that the truth has."""
    shares = [math.exp(float(logit)) for logit in logits]
    return -math.log(shares[int(truth)] / sum(shares))


def test_its_loss_is_the_mean_over_views_and_heads_of_a_loops() -> None:
    method, batch = deepcluster(), toy_batch("deepcluster_v2", np.arange(BATCH) * 2)
    method.before_epoch(lambda _: normal(N, 16), Step(0, 20, 0))
    seen: list[Tensor] = []
    method.net.projector.register_forward_hook(lambda *said: seen.append(said[-1].detach()))
    found = method(batch, AT).loss
    z = F.normalize(seen[0], dim=1)
    labels = [method.labels[h, batch.index].repeat(3) for h in range(2)]
    expected = np.mean([pay(z[i] @ method.centroids[h].T / 0.1, labels[h][i]) for h in range(2) for i in range(len(z))])
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_centroids_are_not_learned() -> None:
    assert "centroids" not in dict(deepcluster().named_parameters())


def test_views_have_the_places_that_the_images_size_gives_them() -> None:
    assert [view.size for view in deepcluster(crops=2).views((View(32), View(32)))] == [32, 32, 14, 14]
