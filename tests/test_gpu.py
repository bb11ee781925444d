"""What `make gpu` checks, small: on the GPU where there is one, else on the CPU."""

import json
from pathlib import Path

import example_checks
import numpy as np
import pytest
import torch

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import methods, packages, page, rows
from benchmarks.gpu.checks import Found, Place, alone
from benchmarks.gpu.methods import LOSSES, built, compare, trace
from divcon.data.loader import ViewBatch, pinned
from divcon.machine import Machine
from divcon.methods.contract import Step
from divcon.nets.trained import InputSpec
from divcon.train.encode import normalized
from divcon.train.nonfinite import NonFiniteGuard, sent_to_cpu

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
needs_gpu = pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")


@pytest.fixture
def place(tmp_path: Path, cache: Path) -> Place:
    return Place(DEVICE, tmp_path, tiny=True)


@pytest.mark.parametrize("name", ["moclr", "distill", "local_aggregation"])
def test_two_steps_on_the_device_are_those_on_the_cpu(name: str, place: Place) -> None:
    methods.no_tf32()
    found = Found()
    ours, theirs = (trace(name, machine, place) for machine in (Machine(DEVICE), Machine("cpu", channels_last=False)))
    compare(name, ours, theirs, found)
    assert found.state == "passed" and len(found.claims) >= 4


def test_a_method_that_computes_something_else_is_found_out(place: Place) -> None:
    ours, found = trace("moclr", Machine(), place), Found()
    compare("moclr", ours, ours, found)
    assert found.state == "passed"
    wrong = methods.Trace([loss * (1 + 2 * LOSSES) for loss in ours.losses], ours.gradient * 1.1, ours.moved, None)
    compare("moclr", wrong, ours, found)
    assert [claim["met"] for claim in found.claims[4:]] == [False, False, False, True]


def test_random_numbers_are_the_cpus_on_each_device() -> None:
    torch.manual_seed(0)
    expected = torch.rand(5)
    torch.manual_seed(0)
    with methods.DrawnOnCpu():
        assert torch.equal(torch.rand(5, device=DEVICE).cpu(), expected)


def test_every_method_can_be_built_for_the_comparison(place: Place) -> None:
    assert all(built(name, place).about for name in methods.names(place))


def test_rows_are_clustered_and_found_as_on_the_cpu(place: Place) -> None:
    found = Found()
    rows.compare(place, found, 600, 5, "small")
    rows.neighbors(place, found, 400)
    assert found.state == "passed" and len(found.claims) == 4


def test_a_check_that_breaks_lasts_or_dies_is_recorded_with_what_it_had_found() -> None:
    said, broken, late, dead = Found(), Found(), Found(), Found()
    assert alone(said, example_checks.fails, 60) == 0 and said.state == "failed" and said.figures == {"a": 1}
    alone(broken, example_checks.breaks, 60)
    assert broken.state == "error" and broken.figures == {"a": 1} and "no such thing" in broken.error
    alone(late, example_checks.lasts, 0.1)
    assert late.state == "error" and "time was over" in late.error
    assert alone(dead, example_checks.dies, 60) == -9


def test_each_check_is_a_function_that_exists() -> None:
    assert all(callable(check.function()) for check in command.CHECKS)


def test_the_answers_are_kept_after_each_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    out = tmp_path / "gpu.json"
    assert command.main("only=environment,bf16", "seconds=0", "device=cpu", "size=tiny", f"out={out}") == 2
    kept = json.loads(out.read_text())
    assert {name: answer["state"] for name, answer in kept["checks"].items()} == {
        "environment": "error",
        "bf16": "error",
    }
    assert "not begun" in kept["checks"]["bf16"]["error"] and "bf16" in page.section(out)


def test_answers_of_checks_that_are_not_done_again_are_kept_with_their_dates(tmp_path: Path, cache: Path) -> None:
    old, out = tmp_path / "old.json", tmp_path / "gpu.json"
    common = "seconds=0", "device=cpu", "size=tiny"
    command.main("only=environment,bf16", *common, f"out={old}")
    before = json.loads(old.read_text())
    for answer in before["checks"].values():
        answer["date"] = "2001-02-03"
    old.write_text(json.dumps(before))
    assert command.main("only=bf16", *common, f"out={out}", f"old={old}") == 1
    dates = {name: answer["date"] for name, answer in json.loads(out.read_text())["checks"].items()}
    assert dates["environment"] == "2001-02-03" < dates["bf16"]
    assert [*command.begin_answers(old, "cuda", False)["checks"]] == []  # a GPU's answers and a CPU's are not mixed


def test_without_results_the_page_says_that_nothing_ran(tmp_path: Path) -> None:
    assert "not run yet" in page.section(tmp_path / "none.json")


def test_versions_below_the_floor_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.metadata, "version", lambda name: "2.11.0+cu130")
    assert packages.is_met("torch>=2.10,<2.15") and not packages.is_met("torch>=2.12")
    assert "pydantic" in packages.advice(["pydantic>=2.10"])


def test_a_fault_is_read_a_step_later_by_a_late_guard() -> None:
    weight = torch.nn.Parameter(torch.ones(2, device=DEVICE))
    guard = NonFiniteGuard(torch.optim.SGD([weight], lr=0.1), late=True)
    bad, index = torch.tensor(float("nan"), device=DEVICE), torch.arange(2)
    guard.watch(bad, [torch.ones_like(weight)], index, Step(0, 3, 0))
    with pytest.raises(Exception, match="at step 0"):
        guard.watch(bad, [torch.ones_like(weight)], index, Step(1, 3, 0))
    assert [sent_to_cpu(torch.tensor(value, device=DEVICE))() for value in (0.0, 1.0)] == [False, True]


def test_normalized_pixels_are_those_of_the_formula() -> None:
    spec, pixels = InputSpec(8), np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    expected = (pixels / 255 - np.array(spec.mean)) / np.array(spec.std)
    np.testing.assert_allclose(
        normalized(pixels, spec, DEVICE).cpu().numpy().transpose(0, 2, 3, 1), expected, atol=1e-5
    )


@needs_gpu
def test_pinned_views_are_the_same_views() -> None:
    batch = ViewBatch([np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)], np.arange(1))
    there = pinned(batch)
    assert np.array_equal(there.views[0], batch.views[0]) and torch.from_numpy(there.views[0]).is_pinned()
