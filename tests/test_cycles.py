"""A training in cycles: each cycle is a training that starts from the weights of the one before it."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import slow
import torch
from test_methods import BATCH, BESIDE, CLOSE, KINDS, PAIR, POOLS, SIGHT, N, built, moved, state, toy_pixels
from torch import Tensor

from divcon.config import to_json_value
from divcon.data.sampler import Sampler
from divcon.errors import FaultError
from divcon.files.integrity import read_json
from divcon.machine import Machine
from divcon.methods.contract import Batch, Method, Outcome, Step
from divcon.methods.local_aggregation import LocalAggregation
from divcon.nets.momentum import Momentum
from divcon.rng import seed_for
from divcon.runs.stage import StageContext
from divcon.stages.pretrain import Pretrain
from divcon.train.loop import Training, as_batch, fit, make_loader, train_step
from divcon.train.optimizers import Name, make_optimizer
from divcon.train.schedules import cycle_at, learning_rate, warmup_steps

LR = 0.03


def training_of(steps: int, cycles: int, optimizer: Name = "adamw") -> Training:
    return Training(steps * BATCH, BATCH, optimizer, LR, weight_decay=1e-2, warmup=0.25, cycles=cycles)


def fitted(method: Method, training: Training, folder: Path, save_every: float = 1e9) -> list[dict[str, Any]]:
    """Train, from the newest checkpoint of the folder if there is one, and return the lines of metrics.jsonl."""
    folder.mkdir(exist_ok=True)
    fit(
        StageContext(folder, "base", Machine(), folder, save_every=save_every),
        method,
        toy_pixels(),
        training,
        PAIR,
        SIGHT,
    )
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def mortal(method: Method, death: int) -> Method:
    """The method, which dies in its forward at this step of the training."""
    forward = method.forward

    def dying(batch: Batch, at: Step) -> Outcome:
        if at.of_training == death:
            raise KeyboardInterrupt
        return forward(batch, at)

    method.forward = dying  # type: ignore[method-assign]
    return method


# the schedule


@pytest.mark.parametrize("cycles", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("steps", [1, 2, 7, 12, 99])
def test_cycles_are_those_of_the_loop(steps: int, cycles: int) -> None:
    assert [cycle_at(step, steps, cycles) for step in range(steps)] == slow.cycles(steps, cycles)


def test_cycles_are_equal_to_a_step_and_none_is_empty() -> None:
    for steps in range(1, 40):
        for cycles in range(1, 12):
            lengths = dict(cycle_at(step, steps, cycles) for step in range(steps)).values()
            assert len(lengths) == min(cycles, steps) and sum(lengths) == steps
            assert max(lengths) - min(lengths) <= 1


def test_the_rate_of_each_cycle_is_that_of_a_training_of_its_length(tmp_path: Path) -> None:
    lines = fitted(built("moclr"), training_of(16, 2), tmp_path)
    warmup = warmup_steps(0.25, 8 * BATCH, BATCH)
    alone = [learning_rate(step, 8, peak=LR * BATCH / 256, warmup=warmup) for step in range(8)]
    assert warmup == 2 and [line["lr"] for line in lines] == pytest.approx([*alone, *alone])


def test_the_lines_of_the_metrics_count_the_whole_training(tmp_path: Path) -> None:
    lines = fitted(built("moclr"), training_of(16, 2), tmp_path)
    assert [line["step"] for line in lines] == list(range(16)) and {line["steps"] for line in lines} == {16}
    assert [line["epoch"] for line in lines] == [step * BATCH // N for step in range(16)]


def test_a_method_is_told_the_steps_of_its_cycle_and_the_epochs_of_the_training(tmp_path: Path) -> None:
    method, told = built("simclr"), list[Step]()
    forward = method.forward

    def listening(batch: Batch, at: Step) -> Outcome:
        told.append(at)
        return forward(batch, at)

    method.forward = listening  # type: ignore[method-assign]
    fitted(method, training_of(9, 2), tmp_path)
    first = [Step(step, 4, step * BATCH // N) for step in range(4)]
    assert told == [*first, *(Step(step, 5, (4 + step) * BATCH // N, 4) for step in range(5))]
    assert [at.of_training for at in told] == list(range(9))


# the begin of a cycle


def trained_one_after_the_other(trainings: int, steps: int, optimizer_name: Name) -> dict[str, Tensor]:
    """The state of the last one of several trainings, each of a new method that starts from the net of the one before it.

    They share the order of the images and the random numbers of one long training."""
    training = training_of(steps, 1, optimizer_name)
    loader = make_loader(toy_pixels(), Sampler(N, BATCH, 0), PAIR, 0, Machine())
    method = built("moclr")
    for number in range(trainings):
        if number:
            method, before = built("moclr", seed=7), method
            method.start_from(before.net)
        optimizer = make_optimizer(optimizer_name, Machine().to_device(method).train(), training.weight_decay)
        for step in range(steps):
            whole = number * steps + step
            torch.manual_seed(seed_for(0, "step", whole))
            batch, at = as_batch(loader.batch(whole), SIGHT, Machine()), Step(step, steps, 0)
            lr = learning_rate(step, steps, peak=LR * BATCH / 256, warmup=round(0.25 * steps))
            method.after_step(train_step(method, optimizer, batch, at, lr, Machine()).update, at)
    return state(method)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lars"])
def test_cycles_are_trainings_one_after_the_other(optimizer: Name, tmp_path: Path) -> None:
    method = built("moclr")
    fitted(method, training_of(12, 3, optimizer), tmp_path)
    assert moved(trained_one_after_the_other(3, 4, optimizer), method) == set()
    assert moved(trained_one_after_the_other(1, 12, optimizer), method) != set()


@pytest.mark.parametrize("name", KINDS)
def test_a_momentum_network_becomes_a_copy_and_all_else_stays(name: str, tmp_path: Path) -> None:
    method = built(name)
    fitted(method, training_of(4, 1), tmp_path)
    targets = [part for part in method.modules() if isinstance(part, Momentum)]
    before, modules = state(method), [*method.modules()]
    assert all(moved(state(target.net), method.net) != set() for target in targets)
    method.begin_cycle()
    assert all(moved(state(target.net), method.net) == set() for target in targets)
    assert {key for key in moved(before, method) if "target." not in key} == set()
    assert all(a is b for a, b in zip(modules, method.modules(), strict=True))  # a compiled forward knows its modules
    assert not any(p.requires_grad for target in targets for p in target.parameters())


def test_a_second_cycle_encodes_the_collection_no_second_time() -> None:
    method, looks = built("deepcluster_v2"), list[object]()

    def look(layer: object) -> Tensor:
        looks.append(layer)
        return torch.randn(N, 16, generator=torch.Generator().manual_seed(0))

    method.before_epoch(look, Step(0, 10, 0))
    method.before_epoch(look, Step(0, 10, 4, begin=10))
    assert looks == ["projection"]


def test_a_second_cycle_of_local_aggregation_has_no_instance_recognition() -> None:
    method = built("local_aggregation", recognition=0.5)
    assert isinstance(method, LocalAggregation)
    found = list[bool]()
    for at in (Step(0, 10, 0), Step(5, 10, 1), Step(0, 10, 2, begin=10)):
        method.labels.zero_()
        method.before_epoch(lambda layer: torch.zeros(N, 1), at)
        found.append(bool(method.labels.any()))
    assert found == [False, True, True]


def test_a_value_that_is_not_finite_is_told_with_the_step_of_the_training(tmp_path: Path) -> None:
    method = built("moclr")
    forward = method.forward

    def broken(batch: Batch, at: Step) -> Outcome:
        outcome = forward(batch, at)
        return replace(outcome, loss=outcome.loss * math.nan) if at.of_training == 4 else outcome

    method.forward = broken  # type: ignore[method-assign]
    with pytest.raises(FaultError, match=r"at step 4; .* Lower the stage's lr"):
        fitted(method, training_of(8, 2), tmp_path)  # the second cycle begins at 4


# killed and resumed


@pytest.mark.parametrize(
    "name", [POOLS, *BESIDE, CLOSE, "moclr", "byol", "moco", "swav", "deepcluster", "deepcluster_v2"]
)
def test_killed_at_and_around_the_begin_of_a_cycle_it_ends_bit_identical(name: str, tmp_path: Path) -> None:
    training, whole, broken = training_of(9, 3), tmp_path / "whole", tmp_path / "broken"
    lines = fitted(built(name), training, whole)
    for death in (2, 3, 4, 6, 7):  # cycles begin at 3 and at 6
        with pytest.raises(KeyboardInterrupt):
            fitted(mortal(built(name), death), training, broken, save_every=0)
    after = fitted(built(name), training, broken, save_every=0)
    ends = [read_json(folder / "checkpoints" / "step-00000009" / "MANIFEST.json") for folder in (whole, broken)]
    assert ends[0] == ends[1]
    assert [(a["step"], a["loss"], a["lr"]) for a in lines] == [(b["step"], b["loss"], b["lr"]) for b in after]


# the recipe


def test_a_recipe_of_one_cycle_has_the_key_of_older_runs() -> None:
    assert "cycles" not in to_json_value(Pretrain(samples_seen=100.0))
    assert to_json_value(Pretrain(samples_seen=100.0, cycles=2))["cycles"] == 2
