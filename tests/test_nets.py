"""Encoders by name, the net's three layers, the momentum network, and batch norm on one rank."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from divcon import dist
from divcon.errors import DataError, InputError, UsageError
from divcon.nets.batch_norm import BatchNorm, over_all_ranks
from divcon.nets.encoder import EncoderSpec, build, check_name, load_weights
from divcon.nets.fast_small_maps import convolved, with_fast_small_maps
from divcon.nets.fold_batch_norm import fold_batch_norms
from divcon.nets.heads import Projector, regressor
from divcon.nets.momentum import Momentum, initial_momentum, momentum_at
from divcon.nets.net import Layer, Net, width
from divcon.nets.slim import Shortcut
from divcon.nets.trained import InputSpec, Trained, untrained


def images(n: int = 4, size: int = 32, seed: int = 0) -> Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def net(seed: int = 0, **shape: int | bool) -> Net:
    torch.manual_seed(seed)
    return Net(build(EncoderSpec("slim10_w8"), 16), **{"hidden": 32, "dim": 16, **shape})


# encoders


@pytest.mark.parametrize(
    "name", ["slim10_w8", "slim10", "resnet18", "resnet18d", "regnety_002", "vgg11_bn", "mobilenetv3_small_050"]
)
@pytest.mark.parametrize("size", [32, 64])
def test_an_encoder_gives_as_many_features_as_it_says(name: str, size: int) -> None:
    encoder = build(EncoderSpec(name), size).eval()
    with torch.no_grad():
        assert encoder(images(2, size)).shape == (2, width(encoder))


@pytest.mark.parametrize("name", ["slim10_w8", "resnet18", "resnet18d"])
def test_a_small_image_keeps_its_size_through_the_stem_and_a_large_one_does_not(name: str) -> None:
    def largest_map(size: int) -> int:
        sides: list[int] = []
        encoder = build(EncoderSpec(name), size).eval()
        last = encoder.pool if name.startswith("slim") else encoder.maxpool
        assert isinstance(last, nn.Module)
        last.register_forward_hook(lambda module, given, seen: sides.append(seen.shape[-1]))
        with torch.no_grad():
            encoder(images(1, size))
        return sides[0]

    assert (largest_map(32), largest_map(64)) == (32, 16)


def test_a_stem_can_be_asked_for_at_any_size() -> None:
    small, own = (build(EncoderSpec("resnet18", stem=stem), 64) for stem in ("small", "own"))
    assert small.state_dict()["conv1.weight"].shape[-1] == 3 and own.state_dict()["conv1.weight"].shape[-1] == 7
    assert build(EncoderSpec("resnet18", stem="own"), 32).state_dict()["conv1.weight"].shape[-1] == 7
    with pytest.raises(UsageError, match=r"stem=small.*regnety_002"):
        build(EncoderSpec("regnety_002", stem="small"), 32)


def test_options_reach_the_model_library() -> None:
    assert build(EncoderSpec("resnet18", {"in_chans": 4}, stem="own"), 64).state_dict()["conv1.weight"].shape[1] == 4


def test_the_same_seed_gives_the_same_weights() -> None:
    def weights(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return torch.cat([p.flatten() for p in build(EncoderSpec("resnet18"), 32).parameters()])

    assert torch.equal(weights(1), weights(1)) and not torch.equal(weights(1), weights(2))


def test_an_encoder_that_is_not_there_is_answered_with_its_neighbors() -> None:
    with pytest.raises(UsageError, match=r"encoder=resnet19.*did you mean.*resnet18"):
        check_name("resnet19")


# where to look from


def test_the_three_places_follow_from_one_another() -> None:
    both = net().eval()
    assert both.projector is not None
    seen: dict[Layer, Tensor] = {place: both(images(6, 16), place) for place in ("pool", "hidden", "projection")}
    assert [x.shape[1] for x in seen.values()] == [64, 32, 16]
    linear, norm, _ = both.projector.into
    torch.testing.assert_close(seen["hidden"], norm(linear(seen["pool"])).relu())
    assert (seen["hidden"] >= 0).all() and (seen["hidden"] == 0).any()
    torch.testing.assert_close(seen["projection"], both.projector.out(seen["hidden"]))
    assert torch.equal(both(images(6, 16)), seen["projection"])


def test_without_a_projector_the_three_places_are_the_pool() -> None:
    alone = net(hidden=0, dim=0).eval()
    assert all(torch.equal(alone(images(2, 16), at), alone.encoder(images(2, 16))) for at in ("hidden", "projection"))


def test_features_are_float32_whatever_is_computed_in() -> None:
    model = net()
    with torch.autocast("cpu", torch.bfloat16):
        assert {model(images(4, 16), at).dtype for at in ("pool", "hidden", "projection")} == {torch.float32}


def test_only_the_projector_that_asks_for_it_ends_with_batch_norm() -> None:
    with_norm, without = Projector(8, 32, 16), Projector(8, 32, 16, norm_output=False)
    x = 5 + 3 * torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(with_norm(x).mean(0), torch.zeros(16), atol=1e-5, rtol=0)
    torch.testing.assert_close(with_norm(x).var(0, correction=0), torch.ones(16), atol=1e-3, rtol=0)
    assert without(x).var(0, correction=0).sub(1).abs().min() > 1e-2
    assert sum(isinstance(part, BatchNorm) for part in regressor(16, 32, 16)) == 1
    assert isinstance(regressor(16, 32, 16)[-1], nn.Linear)


# the slow copy


def test_momentum_runs_from_its_start_to_one() -> None:
    assert momentum_at(0.996, 0, 1000) == pytest.approx(0.996)
    assert momentum_at(0.996, 500, 1000) == pytest.approx(0.998)
    assert momentum_at(0.996, 1000, 1000) == 1.0
    course = [momentum_at(0.9, step, 50) for step in range(51)]
    assert course == sorted(course) and course[0] == pytest.approx(0.9)


def test_a_start_that_is_not_told_follows_from_the_number_of_steps() -> None:
    assert [initial_momentum(steps) for steps in (1, 100, 1600, 10**6)] == pytest.approx([0.9, 0.9, 0.99, 0.996])
    assert momentum_at(None, 0, 1600) == pytest.approx(0.99) and momentum_at(None, 1600, 1600) == 1.0
    for steps in (200, 1000, 4000):
        left = torch.tensor([momentum_at(None, step, steps) for step in range(steps)]).log().sum().exp()
        assert float(left) == pytest.approx(torch.tensor(-8.0).exp().item(), rel=0.5)


def test_the_slow_copy_moves_by_the_formula_and_takes_no_gradient() -> None:
    fast = net()
    slow = Momentum(fast)
    before = [p.clone() for p in slow.parameters()]
    with torch.no_grad():
        for p in fast.parameters():
            p.add_(1.0)
    slow.follow(fast, 0.75)
    for old, new, target in zip(before, slow.parameters(), fast.parameters()):
        torch.testing.assert_close(new, 0.75 * old + 0.25 * target.detach())
    assert not any(p.requires_grad for p in slow.parameters()) and not slow(images(4, 16)).requires_grad


def test_the_slow_copys_batch_norm_remembers_its_own_batches_and_not_those_of_the_other() -> None:
    fast = net().train()
    slow = Momentum(fast).train()

    def statistics(module: nn.Module) -> list[Tensor]:
        return [b.clone() for name, b in module.named_buffers() if "running" in name]

    fast(images(8, 16))
    slow.follow(fast, 0.0)
    assert all(torch.equal(a, b) for a, b in zip(statistics(slow), statistics(Momentum(net()))))
    slow(images(8, 16))
    assert all(torch.equal(a, b) for a, b in zip(statistics(slow), statistics(fast)))


# batch norm


@pytest.mark.parametrize("shape", [(12, 6), (4, 6, 5, 5)])
def test_batch_norm_on_one_process_is_torchs(shape: tuple[int, ...]) -> None:
    ours = BatchNorm(6)
    torchs = nn.BatchNorm1d(6) if len(shape) == 2 else nn.BatchNorm2d(6)
    for step in range(3):
        x = 2 + 3 * torch.randn(shape, generator=torch.Generator().manual_seed(step))
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        ours(a).square().mul(x).sum().backward()
        torchs(b).square().mul(x).sum().backward()
        assert torch.equal(ours(x), torchs(x)) and a.grad is not None and b.grad is not None
        torch.testing.assert_close(a.grad, b.grad)
    assert all(torch.equal(v, torchs.state_dict()[k]) for k, v in ours.state_dict().items())
    assert torch.equal(ours.eval()(x), torchs.eval()(x))


@pytest.mark.parametrize("shape", [(12, 6), (4, 6, 5, 5)])
def test_the_formula_for_many_ranks_gives_what_torch_gives(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines that many ranks run, on a rank whose one fellow holds the same rows."""
    half = 2 + 3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    whole = torch.cat([half, half])
    torchs = nn.BatchNorm1d(6) if len(shape) == 2 else nn.BatchNorm2d(6)
    expected = torchs(whole)[: len(half)]
    monkeypatch.setattr(dist, "world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_sum", lambda x: 2 * x)
    ours = BatchNorm(6)
    torch.testing.assert_close(ours(half), expected, atol=1e-5, rtol=1e-5)
    for name, value in torchs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)


def test_batch_norm_takes_rows_and_maps_and_nothing_else() -> None:
    with pytest.raises(AssertionError, match=r"\(2, 3, 4\)"):
        BatchNorm(3)(torch.zeros(2, 3, 4))


def test_batch_norm_counts_in_float32_under_bf16() -> None:
    x = 1000 + torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    norm = BatchNorm(4)
    with torch.autocast("cpu", torch.bfloat16):
        assert norm(x).dtype == torch.float32
    torch.testing.assert_close(norm.running_mean, 0.1 * x.mean(0))


def test_on_one_process_a_network_stays_as_it_is() -> None:
    encoder = build(EncoderSpec("resnet18"), 32)
    modules = list(encoder.modules())
    assert over_all_ranks(encoder) is encoder and all(a is b for a, b in zip(encoder.modules(), modules))


@pytest.mark.parametrize("name", ["slim10_w8", "resnet18", "regnety_002"])
def test_over_ranks_every_weight_keeps_its_name_and_every_norm_its_activation(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    encoder = build(EncoderSpec(name), 32)
    weights = {key: value.clone() for key, value in encoder.state_dict().items()}
    seen = encoder.eval()(images())
    monkeypatch.setattr(dist, "world_size", lambda: 2)
    spread = over_all_ranks(encoder)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in spread.modules())
    assert spread.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[key]) for key, value in spread.state_dict().items())
    torch.testing.assert_close(spread.eval()(images()), seen)


# on disk


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    """The folder of a finished stage."""
    Trained(EncoderSpec("slim10_w8"), InputSpec(16), net(seed=5)).save(tmp_path)
    return tmp_path


def test_a_trained_net_comes_back_whole(stage: Path) -> None:
    back, was = Trained.load(stage), net(seed=5).eval()
    assert all(torch.equal(back.net(images(3, 16), at), was(images(3, 16), at)) for at in ("pool", "projection"))
    assert back.input_spec == InputSpec(16) and not back.net.training


def test_an_encoder_starts_from_a_stages_folder_or_file(stage: Path) -> None:
    for source in (stage, stage / "encoder.safetensors"):
        encoder = build(EncoderSpec("slim10_w8", init=str(source)), 16)
        was = net(seed=5).encoder.state_dict()
        assert all(torch.equal(value, was[key]) for key, value in encoder.state_dict().items())


def test_weights_that_are_not_there_or_of_another_encoder_are_refused(stage: Path) -> None:
    with pytest.raises(InputError, match=r"no encoder\.safetensors"):
        build(EncoderSpec("slim10_w8", init=str(stage / "nowhere")), 16)
    with pytest.raises(UsageError, match="belong to another encoder"):
        load_weights(build(EncoderSpec("resnet18"), 32), stage)


def test_a_flipped_bit_in_the_weights_is_noticed(stage: Path) -> None:
    file = stage / "encoder.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    with pytest.raises(DataError, match=r"encoder\.safetensors is damaged"):
        _ = Trained.load(stage).net


def test_untrained_weights_follow_from_the_seed() -> None:
    one, same, other = (
        untrained(EncoderSpec("slim10_w8"), InputSpec(16), seed).net(images(2, 16)) for seed in (0, 0, 1)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


# the same network in a quicker form


@pytest.mark.parametrize("sides", [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_a_small_map_convolved_as_a_product_has_the_outputs_and_the_gradients_of_a_convolution(
    sides: tuple[int, int],
) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 5, *sides, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(7, 5, 3, 3, dtype=torch.float64, requires_grad=True)
    truth, seen = F.conv2d(x, weight, padding=1), convolved(x, weight)
    slope = torch.randn_like(truth)
    assert torch.allclose(seen, truth, rtol=1e-12, atol=1e-12)
    for mine, theirs in zip(
        torch.autograd.grad(seen, [x, weight], slope), torch.autograd.grad(truth, [x, weight], slope)
    ):
        assert torch.allclose(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [16, 64])
def test_a_network_with_products_is_the_same_network(size: int) -> None:
    """At 64 pixels the last maps of a resnet18 are 2 x 2; at 16, with its own stem, they are 1 x 1."""
    torch.manual_seed(0)
    plain = build(EncoderSpec("resnet18", stem="own"), size)
    quick = with_fast_small_maps(copy.deepcopy(plain))
    assert list(quick.state_dict()) == list(plain.state_dict())
    convolutions = [m for m in quick.modules() if isinstance(m, nn.Conv2d)]
    assert 0 < sum(type(m) is not nn.Conv2d for m in convolutions) < len(convolutions)
    for network in (plain, quick):
        network(images(4, size)).square().sum().backward()
    for (name, p), q in zip(plain.named_parameters(), quick.parameters()):
        assert p.grad is not None and q.grad is not None
        assert (p.grad - q.grad).abs().max() <= 2e-4 * p.grad.abs().max() + 1e-9, name


def test_products_are_made_in_the_precision_of_the_convolutions_they_stand_for() -> None:
    conv = nn.Conv2d(128, 128, 3, 1, 1)
    (quick,) = with_fast_small_maps(nn.Sequential(copy.deepcopy(conv)))
    x = torch.randn(4, 128, 2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        seen, truth = quick(x), conv(x)
    assert seen.dtype == truth.dtype == torch.bfloat16
    assert (seen - truth).abs().max() <= 2**-6 * truth.abs().max()


@pytest.mark.parametrize("name", ["slim10_w8", "resnet18", "resnet50", "regnety_002"])
def test_folding_leaves_no_batch_norm_and_changes_nothing_that_a_frozen_network_says(name: str) -> None:
    torch.manual_seed(0)
    whole = Net(build(EncoderSpec(name), 32), hidden=32, dim=16)
    for _ in range(3):
        whole(images(16, seed=1) * 2 + 1)  # so that the running statistics are not those of a new network
    quick = fold_batch_norms(whole.eval(), 32)
    assert not [m for m in quick.encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [m for m in whole.encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.no_grad():
        truth, seen = whole(images(8, seed=2)), quick(images(8, seed=2))
    assert (seen - truth).abs().max() <= 1e-3 * truth.abs().max()


class Shared(nn.Module):
    """A convolution whose output is read by a norm, and by a sum beside it: folding would change the sum."""

    num_features = 4

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        nn.init.constant_(self.norm.running_mean, 3.0)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return (self.norm(y) + y).mean((2, 3))


def test_what_can_not_be_folded_stays_as_it_is() -> None:
    net = Net(Shared()).eval()
    with torch.no_grad():
        assert torch.equal(fold_batch_norms(net, 16)(images(2, 16)), net(images(2, 16)))


ODD_BATCH = """
import torch
from divcon.nets.slim import Shortcut
torch.set_num_threads(2)
conv = Shortcut(8, 16, 1, 2, bias=False).to(memory_format=torch.channels_last)
for _ in range(100):
    x = torch.randn(15, 8, 16, 16).to(memory_format=torch.channels_last).requires_grad_()
    conv(x).square().mean().backward()
"""


def test_an_odd_batch_on_two_threads_does_not_write_past_its_memory() -> None:
    environ = {**os.environ, "MALLOC_CHECK_": "3"}  # a process of its own: nn.Conv2d ends it here
    done = subprocess.run([sys.executable, "-c", ODD_BATCH], env=environ, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("channels", [8, 16])
def test_a_shortcut_is_a_convolution_with_a_stride(channels: int) -> None:
    torch.manual_seed(0)
    conv, x = Shortcut(channels, 2 * channels, 1, 2, bias=False), torch.randn(16, channels, 9, 9)
    pairs = []
    for forward in (conv, lambda seen: nn.functional.conv2d(seen, conv.weight, stride=2)):
        seen = x.clone().requires_grad_()
        y = forward(seen)
        pairs.append([y, *torch.autograd.grad(y.square().mean(), [seen, conv.weight])])
    for found, expected in zip(*pairs):
        torch.testing.assert_close(found, expected)
