"""A training whose features are the same for all images is stopped; one that learns never is."""

import functools
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from conftest import TINY
from safetensors.torch import load_file
from test_methods import BATCH, PAIR, SIGHT, SIZE, N, built, toy_batch, toy_pixels
from test_pipeline import typed
from torch import nn

import divcon
from divcon.errors import FaultError
from divcon.machine import Machine
from divcon.methods.contract import Batch, Method, Outcome, Step
from divcon.methods.simclr import SimCLR
from divcon.nets.encoder import EncoderSpec, build
from divcon.runs.stage import StageContext
from divcon.stages import learning
from divcon.train import checkpoints
from divcon.train.collapse import MIN_SPREAD, STOP_STEPS, CollapseMonitor, spread_and_effective_rank
from divcon.train.loop import Training, fit
from divcon.train.optimizers import make_optimizer

M = TypeVar("M", bound=nn.Module)
STEPS = 600
DIES = 150  # in the middle of what leads to the stop


class Light(nn.Sequential):
    """An encoder that takes a millisecond."""

    num_features = 32

    def __init__(self) -> None:
        super().__init__(
            nn.AvgPool2d(4), nn.Flatten(), nn.Linear(3 * (SIZE // 4) ** 2, 32), nn.BatchNorm1d(32), nn.ReLU()
        )


def light(seed: int = 0) -> Method:
    torch.manual_seed(seed)
    return SimCLR(Light(), N, hidden=32, dim=16).train()


def zeroed(method: M) -> M:
    """Set all weights to zero: the network gives the same features for all images, and can't learn."""
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.zero_()
    return method


def training(
    method: Method, folder: Path, steps: int = STEPS, *, save_every: float = 1e9, allow: bool = False, lr: float = 0.03
) -> list[dict[str, float]]:
    """Train as a stage does, and return the lines of metrics.jsonl."""
    work = StageContext(folder, "base", Machine(), folder, save_every=save_every, allow_collapse=allow)
    how = Training(samples_seen=steps * BATCH, batch_size=BATCH, optimizer="adamw", lr=lr, weight_decay=1e-2)
    fit(work, method, toy_pixels(), how, PAIR, SIGHT)
    return journal(folder)


def journal(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def mortal(method: Method, step: int) -> Method:
    """Let the method raise KeyboardInterrupt in the forward pass of this step."""
    forward = method.forward

    def dies(batch: Batch, at: Step) -> Outcome:
        if at.step == step:
            raise KeyboardInterrupt
        return forward(batch, at)

    method.forward = dies
    return method


def stopped_at(method: Method, folder: Path, *, save_every: float = 1e9) -> int:
    """Return the step at which the training is stopped for its features."""
    with pytest.raises(FaultError, match="the features have been nearly the same for all images") as error:
        training(method, folder, save_every=save_every)
    assert error.value.code == 70
    found = re.match(r"base at step (\d+) of 600: ", str(error.value))
    assert found and int(found[1]) == journal(folder)[-1]["step"]
    return int(found[1])


def test_an_encoder_that_says_nothing_is_stopped_within_600_steps_and_what_was_saved_loads(tmp_path: Path) -> None:
    step = stopped_at(zeroed(light()), tmp_path, save_every=0.05)
    assert step < STEPS // 2
    method = light()
    newest = checkpoints.load(tmp_path / "checkpoints", method, make_optimizer("adamw", method, 0.0))
    assert 0 < newest <= step
    saved = load_file(tmp_path / "checkpoints" / f"step-{newest:08d}" / "model.safetensors")
    assert all(torch.equal(value, saved[name]) for name, value in method.state_dict().items())


def test_the_message_says_what_helps_and_how_to_go_on(tmp_path: Path) -> None:
    method = zeroed(light())
    with pytest.raises(FaultError) as error:
        training(method, tmp_path)
    for part in (method.advice, "with another out=, or after `divcon redo`", "--allow-collapse"):
        assert part in str(error.value)


def test_it_goes_on_to_the_end_where_that_is_allowed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = training(zeroed(light()), tmp_path, allow=True)
    assert lines[-1]["step"] == STEPS - 1 and lines[-1]["spread"] < MIN_SPREAD
    assert sum("nearly the same for all images" in record.getMessage() for record in caplog.records) == 1


def test_killed_and_resumed_it_is_stopped_at_the_very_step_and_again_each_time_it_is_typed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        training(mortal(zeroed(light()), DIES), tmp_path / "killed", save_every=0.05)
    step = stopped_at(zeroed(light()), tmp_path / "killed", save_every=0.05)
    assert DIES < step < DIES + STOP_STEPS
    assert step == stopped_at(zeroed(light()), tmp_path / "killed") == stopped_at(zeroed(light()), tmp_path / "whole")


def test_what_was_stopped_goes_on_once_it_is_allowed(tmp_path: Path) -> None:
    step = stopped_at(zeroed(light()), tmp_path, save_every=0.05)
    lines = training(zeroed(light()), tmp_path, allow=True)
    assert [line["step"] for line in lines if line["step"] <= step] == list(range(0, step + 1, 3))
    assert lines[-1]["step"] == STEPS - 1


def test_a_command_is_stopped_says_so_in_its_status_and_goes_on_with_the_flag(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(learning, "build", lambda *of: zeroed(build(*of)))
    options = {key: value for key, value in TINY.items() if "." not in key} | {"recipe": "simclr", "epochs": 20}
    words = [
        "run",
        str(photos),
        f"out={tmp_path / 'run'}",
        "save_every=0.05",
        *(f"{k}={v}" for k, v in options.items()),
    ]
    assert typed(words) == typed(words) == 70
    base = divcon.status(tmp_path / "run").stages["base"]
    assert base.state == "failed" and "nearly the same for all images" in base.why
    assert typed([*words, "--allow-collapse"]) == 0
    assert "going on from step " in capsys.readouterr().err
    assert typed(words) == 0  # it is done, and was done with the same options


class Readings:
    """A monitor, and readings of a given spread at the logged steps of a training."""

    def __init__(self, steps: int):
        self.steps, self.every = steps, max(1, steps // 200)
        self.monitor, self.next = CollapseMonitor("base", "do this"), 0

    def until(self, fraction: float, spread: float) -> bool:
        """Return True if the training is stopped before this share of it is done."""
        seen = torch.eye(4) * spread + 1
        while self.next < fraction * self.steps:
            at, self.next = Step(self.next, self.steps, 0), self.next + self.every
            self.monitor.watch(Outcome(torch.tensor(1.0), features=seen), 1.0, at)
            try:
                self.monitor.check(at)
            except FaultError:
                return True
        return False


@pytest.mark.parametrize("steps", [100, 119, 400, 10_000, 1_000_000])
def test_nothing_is_stopped_in_its_first_fifth_or_for_less_than_a_hundred_steps(steps: int) -> None:
    readings = Readings(steps)
    assert not readings.until(0.2, 0.0)
    assert not readings.until(min(1.0, 0.2 + max(100 / steps, 0.09)), 0.0)
    assert readings.until(1.0, 0.0) == (steps >= 200)


def test_one_reading_that_tells_images_apart_begins_the_count_anew() -> None:
    readings = Readings(10_000)
    for end in (0.29, 0.38, 0.47):
        assert not readings.until(end, 0.0)
        assert not readings.until(end + 0.005, 1.0)
    assert readings.until(0.6, 0.0)


def test_few_dimensions_and_a_loss_of_chance_stop_nothing(caplog: pytest.LogCaptureFixture) -> None:
    monitor = CollapseMonitor("base", "do this")
    line = torch.linspace(-1, 1, 32)[:, None] * torch.ones(32, 8)
    for step in range(1000):
        monitor.watch(Outcome(torch.tensor(4.0), features=line, chance=4.0), 4.0, Step(step, 1000, 0))
        monitor.check(Step(step, 1000, 0))
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    ("of", "steps"), [(light, 60), pytest.param(functools.partial(built, "simclr"), 250, marks=pytest.mark.slow)]
)
def test_of_20_trainings_that_learn_none_is_warned_of_and_none_stopped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, of: Callable[[int], Method], steps: int
) -> None:
    for seed in range(20):
        with caplog.at_level(logging.WARNING, "divcon"):
            lines = training(of(seed), tmp_path / str(seed), steps)
        assert lines[-1]["step"] == steps - 1 and min(line["spread"] for line in lines) > 4 * MIN_SPREAD
    assert [record.getMessage() for record in caplog.records] == []


@pytest.mark.parametrize("name", ["resnet50", "regnety_002", "slim10"])
def test_what_a_random_network_sees_is_not_called_the_same(name: str) -> None:
    """All pools are positive, so images look much alike there before anything is learned."""
    torch.manual_seed(0)
    encoder = build(EncoderSpec(name), 64).train()
    views = torch.nn.functional.interpolate(toy_batch("simclr").views[0], scale_factor=4)
    spread, _ = spread_and_effective_rank(encoder(views))
    assert spread > 2 * MIN_SPREAD
