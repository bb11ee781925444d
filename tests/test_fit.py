"""The loop's parts: checkpoints that notice damage, LARS, schedules, what decays, and when it stops."""

import dataclasses
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import slow
import torch
from test_methods import AT, BATCH, N, built, is_statistic, moved, state, toy_batch, toy_pixels, trainable, trained
from torch import Tensor, nn

from divcon import signals
from divcon.data.views.presets import PRESETS
from divcon.errors import DataError, FaultError, StoppedError
from divcon.files.integrity import read_json
from divcon.log import Progress
from divcon.machine import Machine
from divcon.methods.contract import Batch, Outcome, Step
from divcon.methods.moclr import MoCLR
from divcon.methods.registry import method_named
from divcon.nets.encoder import EncoderSpec, build
from divcon.nets.fast_small_maps import with_fast_small_maps
from divcon.nets.trained import InputSpec
from divcon.runs.metrics_file import MetricsFile, read_lines
from divcon.runs.stage import StageContext
from divcon.train import checkpoints
from divcon.train.loop import Training, fit, train_step
from divcon.train.nonfinite import NonFiniteGuard
from divcon.train.optimizers import LARS, Name, make_optimizer
from divcon.train.schedules import IMAGENET, learning_rate, steps_for, warmup_steps

OPTIMIZERS: list[Name] = ["sgd", "adamw", "lars"]


def small_net(seed: int = 0) -> nn.Module:
    """Convolutions in the layout that training uses, norms and biases."""
    torch.manual_seed(seed)
    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(100, 5)
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def small_steps(net: nn.Module, optimizer: torch.optim.Optimizer, steps: Sequence[int]) -> None:
    for step in steps:
        x = torch.randn(4, 3, 9, 9, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        net(x.contiguous(memory_format=torch.channels_last)).square().mean().backward()
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * (step + 1)
        optimizer.step()


def small_training(folder: Path, steps: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Saved at each of its steps."""
    net = small_net()
    optimizer = make_optimizer("adamw", net, 0.01)
    for step in range(steps):
        small_steps(net, optimizer, [step])
        checkpoints.save(folder, step + 1, net, optimizer)
    return net, optimizer


def flip(file: Path, byte: int, bit: int = 0) -> None:
    data = bytearray(file.read_bytes())
    data[byte] ^= 1 << bit
    file.write_bytes(data)


# checkpoints


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_training_goes_on_from_a_checkpoint_with_the_same_bits(name: Name, tmp_path: Path) -> None:
    net = small_net()
    optimizer = make_optimizer(name, net, 0.01)
    small_steps(net, optimizer, range(3))
    checkpoints.save(tmp_path, 3, net, optimizer)
    again = small_net(seed=1)
    restored = make_optimizer(name, again, 0.01)
    assert checkpoints.load(tmp_path, again, restored) == 3
    small_steps(net, optimizer, range(3, 7))
    small_steps(again, restored, range(3, 7))
    assert moved(state(net), again) == set()
    for a, b in zip(optimizer.state_dict()["state"].values(), restored.state_dict()["state"].values()):
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "MANIFEST.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_damage_is_named_and_the_checkpoint_before_is_taken(
    file: str, damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small_training(tmp_path, 3)
    path = tmp_path / "step-00000003" / file
    if damage == "flipped":
        flip(path, path.stat().st_size // 2)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-7])
    else:
        path.unlink()
    net = small_net(seed=1)
    assert checkpoints.load(tmp_path, net, make_optimizer("adamw", net, 0.01)) == 2
    assert moved(state(small_training(tmp_path / "other", 2)[0]), net) == set()
    assert "step-00000003 is damaged" in caplog.text and (file == "MANIFEST.json" or file in caplog.text)


def test_no_flipped_bit_of_a_checkpoint_gets_past(tmp_path: Path) -> None:
    small_training(tmp_path, 1)
    checkpoint, rng = tmp_path / "step-00000001", np.random.default_rng(0)
    assert checkpoints.damaged(checkpoint) == ""
    for file in ("model.safetensors", "optimizer.safetensors"):
        for _ in range(50):
            byte, bit = int(rng.integers((checkpoint / file).stat().st_size)), int(rng.integers(8))
            flip(checkpoint / file, byte, bit)
            assert file in checkpoints.damaged(checkpoint)
            flip(checkpoint / file, byte, bit)
    assert checkpoints.damaged(checkpoint) == ""


def test_when_all_checkpoints_are_damaged_it_begins_anew_with_nothing_of_them(tmp_path: Path) -> None:
    small_training(tmp_path, 2)
    for checkpoint in tmp_path.glob("step-*"):
        flip(checkpoint / "optimizer.safetensors", -1)
    net = small_net(seed=1)
    optimizer = make_optimizer("adamw", net, 0.01)
    assert checkpoints.load(tmp_path, net, optimizer) == 0
    assert moved(state(small_net(seed=1)), net) == set() and not optimizer.state_dict()["state"]


def test_what_a_killed_process_left_half_written_is_not_read_and_is_cleared(tmp_path: Path) -> None:
    net, optimizer = small_training(tmp_path, 2)
    shutil.copytree(tmp_path / "step-00000002", tmp_path / "step-00000009.12345.part")
    assert checkpoints.load(tmp_path, net, optimizer) == 2
    checkpoints.save(tmp_path, 3, net, optimizer)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]


def test_a_checkpoint_may_be_made_again_over_a_damaged_one(tmp_path: Path) -> None:
    net, optimizer = small_training(tmp_path, 2)
    flip(tmp_path / "step-00000002" / "model.safetensors", -1)
    checkpoints.save(tmp_path, 2, net, optimizer)
    assert checkpoints.load(tmp_path, net, optimizer) == 2


def test_a_checkpoint_holds_no_pickle_and_two_are_kept(tmp_path: Path) -> None:
    small_training(tmp_path, 5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000004", "step-00000005"]
    files = {path.name for path in (tmp_path / "step-00000005").iterdir()}
    assert files == {"MANIFEST.json", "model.safetensors", "optimizer.safetensors"}
    manifest = read_json(tmp_path / "step-00000005" / "MANIFEST.json")
    assert manifest["step"] == 5 and set(manifest["sha256"]) == files - {"MANIFEST.json"}


def test_a_damaged_checkpoint_changes_no_bit_of_the_end(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    trained("moclr", whole, 6)
    trained("moclr", broken, 6, die_at=4, save_every=0)
    flip(broken / "checkpoints" / "step-00000004" / "model.safetensors", -3)
    journal = trained("moclr", broken, 6)
    ends = [read_json(folder / "checkpoints" / "step-00000006" / "MANIFEST.json") for folder in (whole, broken)]
    assert ends[0] == ends[1] and [line["step"] for line in journal] == list(range(6))


# the journal


def _cut(path: Path, first: int) -> MetricsFile:
    """The journal, without the lines from a step on."""
    journal = MetricsFile(path, first)
    journal.cut()
    return journal


def test_a_resume_cuts_the_journal_back_to_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    journal = _cut(path, 0)
    for step in range(6):
        journal.write({"step": step, "loss": 1 / 3})
    with path.open("a") as file:
        file.write('{"step": 6, "lo')
    _cut(path, 4).write({"step": 4, "loss": 2.0})
    assert read_lines(path) == [*({"step": step, "loss": 1 / 3} for step in range(4)), {"step": 4, "loss": 2.0}]
    assert path.read_text().endswith("}\n") and list(tmp_path.iterdir()) == [path]


def test_a_training_that_begins_anew_forgets_the_journal(tmp_path: Path) -> None:
    _cut(tmp_path / "m", 0).write({"step": 0})
    _cut(tmp_path / "m", 0)
    assert read_lines(tmp_path / "m") == [] == read_lines(tmp_path / "never")


def test_the_journal_says_what_was_done(tmp_path: Path) -> None:
    first, *_, last = trained("distill", tmp_path, 5)
    assert first.keys() >= {"step", "epoch", "loss", "lr", "images_per_second", "data_wait", "base", "expert"}
    assert (first["step"], last["step"], last["epoch"]) == (0, 4, 4 * BATCH // N) and 0 < last["data_wait"] < 1
    assert first["loss"] == pytest.approx((first["base"] + first["expert"]) / 2, rel=1e-5)


# optimizers


def test_lars_is_the_loop_over_steps_of_different_rates() -> None:
    rng = np.random.default_rng(0)
    shapes = [(4, 3), (2, 3, 3, 3), (5,), (1,), (3, 2)]
    parameters = [nn.Parameter(torch.from_numpy(rng.normal(size=shape))) for shape in shapes]
    with torch.no_grad():
        parameters[-1].zero_()  # a tensor without a size has a ratio of one
    expected = [(p.detach().numpy().copy(), np.zeros(p.shape)) for p in parameters]
    optimizer = LARS(parameters, lr=0.0, weight_decay=0.1)
    for rate in (0.0, 0.3, 4.8, 0.1):
        slopes = [rng.normal(size=shape) for shape in shapes]
        for p, slope in zip(parameters, slopes):
            p.grad = torch.from_numpy(slope.copy())
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        expected = [slow.lars(p, buffer, g, rate, 0.1) for (p, buffer), g in zip(expected, slopes)]
        for p, (value, _) in zip(parameters, expected):
            np.testing.assert_allclose(p.detach().numpy(), value, rtol=1e-12)


def test_lars_takes_a_gradient_of_zero_for_what_it_is() -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    weight.grad = torch.zeros(2, 2)
    LARS([weight], lr=1.0).step()
    assert torch.equal(weight.detach(), torch.ones(2, 2))


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("method", ["moclr", "distill"])
def test_weights_decay_and_biases_and_norms_do_not(name: Name, method: str) -> None:
    """Only decay moves a tensor whose gradient is near zero. (LARS does not move one whose gradient is zero.)"""
    one = built(method)
    with torch.no_grad():
        for p in one.parameters():
            p.add_(0.5)
    before = state(one)
    optimizer = make_optimizer(name, one, 0.1)
    for p in trainable(one).values():
        p.grad = torch.full_like(p, 1e-30 if name.startswith("lar") and p.ndim > 1 else 0.0)
    for group in optimizer.param_groups:
        group["lr"] = 1.0
    optimizer.step()
    expected = {key for key, p in trainable(one).items() if p.ndim > 1}
    assert moved(before, one) == expected and expected and expected != set(trainable(one))
    norms = [m for m in one.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.affine]
    undecayed = {id(p) for group in optimizer.param_groups for p in group["params"] if group["weight_decay"] == 0}
    assert all(id(m.weight) in undecayed and id(m.bias) in undecayed for m in norms if m.weight.requires_grad)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_takes_no_gradient_is_not_the_optimizers(name: Name) -> None:
    method = built("moclr")
    held = {id(p) for group in make_optimizer(name, method, 0.1).param_groups for p in group["params"]}
    assert held == {id(p) for p in trainable(method).values()}
    assert all(key.startswith("net.") for key in trainable(method))


# schedules


def test_the_rate_rises_to_its_peak_and_ends_at_nothing() -> None:
    course = [learning_rate(step, 100, peak=2.0, warmup=10) for step in range(101)]
    assert course[0] == pytest.approx(0.2) and course[9] == course[10] == pytest.approx(2.0)
    assert course[55] == pytest.approx(1.0) and course[100] == 0.0
    assert course[:10] == sorted(course[:10]) and course[10:] == sorted(course[10:], reverse=True)
    assert course[99] < 2e-3


def test_without_warm_up_it_starts_at_the_peak() -> None:
    assert learning_rate(0, 10, peak=3.0, warmup=0) == 3.0


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_trainings_have_rates_too(steps: int) -> None:
    for warmup in range(steps + 1):
        course = [learning_rate(step, steps, peak=1.0, warmup=warmup) for step in range(steps)]
        assert all(0 < rate <= 1 for rate in course)


def test_warm_up_is_a_share_of_a_short_training_and_ten_imagenet_epochs_of_a_long_one() -> None:
    assert warmup_steps(0.1, 6000, 60) == 10
    assert warmup_steps(0.1, 1000 * IMAGENET, 4096) == round(10 * IMAGENET / 4096) == 3128


def test_steps_are_the_budget_to_half_a_batch() -> None:
    assert [steps_for(images, 10) for images in (1, 94, 96, 1000)] == [1, 9, 10, 100]


def test_the_rate_is_for_a_batch_of_256(tmp_path: Path) -> None:
    journal = trained("moclr", tmp_path, 20)
    peak = 0.03 * BATCH / 256
    expected = [learning_rate(step, 20, peak=peak, warmup=2) for step in range(20)]
    assert [line["lr"] for line in journal] == pytest.approx(expected)


# faults and stops


class Broken(MoCLR):
    """Fails at a step, in its loss or in its gradient alone."""

    def __init__(self, at_step: int, where: str):
        super().__init__(build(EncoderSpec("slim10_w8"), 16), N, hidden=32, dim=16)
        self.at_step, self.where = at_step, where

    def forward(self, batch: Batch, at: Step) -> Outcome:
        outcome = super().forward(batch, at)
        weight = next(iter(self.net.parameters()))
        if at.step != self.at_step:
            return outcome
        # sqrt has an infinite slope at zero, and a value that is fine
        extra = weight.sum() * math.nan if self.where == "loss" else (weight - weight.detach()).square().sum().sqrt()
        return dataclasses.replace(outcome, loss=outcome.loss + extra)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_what_is_not_finite_stops_before_the_weights_move(where: str) -> None:
    method = Broken(AT.step, where)
    optimizer = make_optimizer("sgd", method, 0.1)
    before, batch = state(method), toy_batch("moclr")
    with pytest.raises(FaultError, match="at step 3; the weights were not moved") as caught:
        train_step(method, optimizer, batch, AT, 1.0, Machine())
    assert caught.value.code == 70 and "positions 0, 1, 2" in str(caught.value)
    assert {key for key in moved(before, method) if not is_statistic(key)} == set()
    train_step(method, optimizer, batch, dataclasses.replace(AT, step=4), 1.0, Machine())
    assert {key for key in moved(before, method) if not is_statistic(key)} != set()


def test_after_a_fault_the_checkpoints_are_those_of_before(tmp_path: Path) -> None:
    work = StageContext(tmp_path, "base", Machine(), tmp_path, save_every=0)
    with pytest.raises(FaultError):
        fit(work, Broken(3, "loss"), toy_pixels(), Training(6 * BATCH, BATCH), PRESETS["mild"](16), InputSpec(16))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-00000002", "step-00000003"]
    assert [line["step"] for line in read_lines(tmp_path / "metrics.jsonl")] == [0, 1, 2]


def test_asked_to_stop_it_finishes_the_step_saves_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    trained("moclr", whole, 5)
    asked: list[int] = []
    monkeypatch.setattr(signals, "_received", asked)

    def watch(tick: Progress) -> None:
        if tick.unit == "steps" and tick.done == 2:
            asked.append(15)

    monkeypatch.setattr("divcon.log.watch", watch)
    with pytest.raises(StoppedError, match=r"SIGTERM: moclr is saved at step 2 of 5") as caught:
        trained("moclr", stopped, 5)
    assert caught.value.code == 75 and (stopped / "checkpoints" / "step-00000002").is_dir()
    asked.clear()
    assert [line["step"] for line in trained("moclr", stopped, 5)] == list(range(5))
    ends = [read_json(folder / "checkpoints" / "step-00000005" / "MANIFEST.json") for folder in (whole, stopped)]
    assert ends[0] == ends[1]


def test_checkpoints_are_made_as_often_as_asked_and_at_the_end(tmp_path: Path) -> None:
    trained("moclr", tmp_path / "seldom", 3)
    trained("moclr", tmp_path / "often", 3, save_every=0)
    names = {how: sorted(p.name for p in (tmp_path / how / "checkpoints").iterdir()) for how in ("seldom", "often")}
    assert names == {"seldom": ["step-00000003"], "often": ["step-00000002", "step-00000003"]}


def test_a_training_notes_what_it_took(tmp_path: Path) -> None:
    work = StageContext(tmp_path, "base", Machine(), tmp_path)
    summary = fit(work, built("moclr"), toy_pixels(), Training(3.4 * BATCH, BATCH), PRESETS["mild"](16), InputSpec(16))
    assert (summary.steps, summary.images_seen) == (3, 3 * BATCH)
    assert 50 < summary.peak_rss_mb < 50_000 and (summary.images_per_second or 0) > 0
    assert summary.loss == read_lines(tmp_path / "metrics.jsonl")[-1]["loss"]


def test_one_image_is_too_few_to_train_on(tmp_path: Path) -> None:
    work = StageContext(tmp_path, "experts/3", Machine(), tmp_path)
    with pytest.raises(DataError, match=r"experts/3: 1 image is too few"):
        fit(work, built("moclr"), toy_pixels(1), Training(64, BATCH), PRESETS["mild"](16), InputSpec(16))


def test_where_the_seed_of_a_process_stands_changes_nothing(tmp_path: Path) -> None:
    ends: list[Tensor] = []
    for elsewhere in (1, 2):
        method = built("moclr")
        torch.manual_seed(elsewhere)
        np.random.seed(elsewhere)
        work = StageContext(tmp_path / str(elsewhere), "base", Machine(workers=elsewhere), tmp_path)
        work.folder.mkdir()
        fit(work, method, toy_pixels(), Training(4 * BATCH, BATCH), PRESETS["byol"](16), InputSpec(16))
        ends.append(torch.cat([p.flatten() for p in method.parameters()]))
    assert torch.equal(ends[0], ends[1])


def test_a_fault_that_is_read_late_has_moved_nothing_either() -> None:
    """The next step begins before the fault of this one is read, as on a GPU."""
    method = Broken(AT.step, "loss")
    optimizer = make_optimizer("adamw", method, 0.1)
    guard, batch, before = NonFiniteGuard(optimizer, late=True), toy_batch("moclr"), state(method)
    train_step(method, optimizer, batch, AT, 1.0, Machine(), guard)
    with pytest.raises(FaultError, match="at step 3; the weights were not moved"):
        train_step(method, optimizer, batch, dataclasses.replace(AT, step=4), 1.0, Machine(), guard)
    assert {key for key in moved(before, method) if not is_statistic(key)} == set()


@pytest.mark.parametrize("name", ["sgd", "adamw", "lars"])
def test_after_a_fault_nothing_moves_again_until_it_is_read(name: Name) -> None:
    method = Broken(AT.step, "gradient")
    optimizer = make_optimizer(name, method, 0.1)
    batch, before = toy_batch("moclr"), state(method)
    guard = NonFiniteGuard(optimizer, late=True)
    train_step(method, optimizer, batch, AT, 1.0, Machine(), guard)
    with pytest.raises(FaultError):
        guard.check_last_step()
    assert {key for key in moved(before, method) if not is_statistic(key)} == set()
    guard.late, guard.last = True, dataclasses.replace(guard.last, at=AT) if guard.last else None
    with pytest.raises(FaultError):
        train_step(method, optimizer, batch, dataclasses.replace(AT, step=4), 1.0, Machine(), guard)
    assert {key for key in moved(before, method) if not is_statistic(key)} == set()


PLAIN = Machine(precision="fp32", channels_last=False, fast_small_maps=False)
FAST = Machine(precision="bf16")
RATE = 3e-5


def losses_on_one_batch(name: str, machine: Machine, steps: int = 3) -> list[float]:
    """The losses of plain gradient descent, with a learning rate so low that rounding errors do not grow."""
    torch.manual_seed(0)
    encoder = build(EncoderSpec("slim10_w32"), 16)
    method = method_named(name)(
        with_fast_small_maps(encoder) if machine.fast_small_maps else encoder, 64, hidden=32, dim=16
    )
    machine.to_device(method).train()
    optimizer, batch = make_optimizer("sgd", method, 0.0), toy_batch(name)
    ats = [Step(step, steps, 0) for step in range(steps)]
    return [float(train_step(method, optimizer, batch, at, RATE, machine).loss.detach()) for at in ats]


@pytest.mark.parametrize("name", ["simclr", "moclr"])
def test_the_fast_path_takes_the_steps_of_the_plain_path(name: str) -> None:
    """bf16, channels last and small maps as products, against none of them."""
    fast, plain = losses_on_one_batch(name, FAST), losses_on_one_batch(name, PLAIN)
    assert fast == pytest.approx(plain, rel=0.03)
    assert fast[0] - fast[-1] == pytest.approx(plain[0] - plain[-1], rel=0.08) and plain[-1] < 0.9 * plain[0]
