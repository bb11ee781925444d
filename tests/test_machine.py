"""Tests of the choice of a machine, and of the settings that change while it computes."""

import ctypes
from pathlib import Path
from typing import Any

import pytest
import torch

from divcon import allocator
from divcon.errors import UsageError
from divcon.machine import ComputeFormat, Machine, choose, fastest, measurement


@pytest.fixture
def tuned(monkeypatch: pytest.MonkeyPatch) -> list[dict[int, int] | str]:
    """The settings of the C library, in the order of the calls."""
    told: list[dict[int, int] | str] = []
    monkeypatch.setattr(allocator, "_tune", told.append)
    monkeypatch.setattr(allocator, "_give_back", lambda: told.append("give back"))
    return told


def test_freed_memory_is_kept_while_a_machine_is_used_and_given_back_after_the_last_use(
    tuned: list[dict[int, int] | str],
) -> None:
    with Machine(keep_memory=False).use():
        assert tuned == []
    with Machine().use():
        with Machine().use():
            pass
        assert tuned == [allocator.KEEP_SETTINGS] * 2
    assert tuned[2:] == [allocator.DEFAULT_SETTINGS, "give back"]


def test_memory_is_given_back_after_an_error_too(tuned: list[dict[int, int] | str]) -> None:
    with pytest.raises(KeyError), Machine().use():
        raise KeyError
    assert tuned == [allocator.KEEP_SETTINGS, allocator.DEFAULT_SETTINGS, "give back"] and allocator.depth == 0


def test_the_c_library_takes_every_setting() -> None:
    """Nothing is set if the C library is not GNU's."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", lambda *_: 1)
    asked = [
        setting for settings in (allocator.KEEP_SETTINGS, allocator.DEFAULT_SETTINGS) for setting in settings.items()
    ]
    assert [mallopt(*setting) for setting in asked] == [1] * len(asked)


def test_what_is_asked_for_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurement, "measure", lambda *_: pytest.fail("measured"))
    asked: dict[str, Any] = {"precision": "bf16", "channels_last": False, "fast_small_maps": False, "workers": 3}
    chosen = choose(tmp_path, device="cpu", **asked)
    assert (chosen.precision, chosen.memory_format, chosen.workers) == ("bf16", torch.contiguous_format, 3)
    assert not chosen.fast_small_maps and not chosen.compiled and chosen.keep_memory


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The devices in the order of their measurement; each is fastest in bf16 with channels last."""
    found: list[str] = []

    def measured(device: str) -> dict[str, Any]:
        found.append(device)
        return {"precision": "bf16", "channels_last": True}

    monkeypatch.setattr(measurement, "measure", measured)
    return found


def test_a_machine_is_measured_once_and_a_layout_that_is_asked_for_is_obeyed(tmp_path: Path, times: list[str]) -> None:
    machines = [choose(tmp_path, device="cpu", channels_last=last) for last in ("auto", False, True)]
    assert times == ["cpu"] and [m.channels_last for m in machines] == [True, False, True]


NEAR = {("fp32", True): 1.0, ("fp32", False): 0.9, ("bf16", True): 0.8, ("bf16", False): 0.75}
UNIT = {("fp32", True): 1.0, ("fp32", False): 0.9, ("bf16", True): 0.5, ("bf16", False): 0.3}
NO_UNIT = {("fp32", True): 1.0, ("fp32", False): 0.9, ("bf16", True): 9.0, ("bf16", False): 8.0}


@pytest.mark.parametrize(
    ("seconds", "way"), [(NEAR, ("fp32", True)), (UNIT, ("bf16", False)), (NO_UNIT, ("fp32", True))]
)
def test_what_is_not_clearly_faster_is_not_chosen(seconds: dict[ComputeFormat, float], way: ComputeFormat) -> None:
    assert fastest(seconds) == way


H200 = {("fp32", True): 4.46, ("fp32", False): 5.31, ("bf16", True): 3.5, ("bf16", False): 4.55}
SLOWER = {**H200, ("bf16", True): 4.4, ("bf16", False): 4.5}


@pytest.mark.parametrize(("seconds", "precision"), [(H200, "bf16"), (SLOWER, "fp32"), (NO_UNIT, "fp32")])
def test_a_gpu_needs_a_smaller_gain_to_compute_in_bf16(seconds: dict[ComputeFormat, float], precision: str) -> None:
    assert fastest(seconds, "cuda:0") == (precision, True)
    assert fastest(seconds, "cpu")[0] == "fp32"


@pytest.mark.parametrize("busy", [range(2, 7), range(5), range(0, 7, 2)], ids=["late", "early", "now and then"])
def test_other_work_while_a_machine_is_measured_decides_nothing(monkeypatch: pytest.MonkeyPatch, busy: range) -> None:
    """A disturbance that makes every measurement ten times slower while it lasts."""
    calls = dict.fromkeys(UNIT, 0)

    def step(machine: Machine) -> Any:
        return lambda: (machine.precision, machine.channels_last)

    def timed(step: Any, device: str) -> float:
        calls[step()] += 1
        slow = calls[step()] - 1 in busy and step() != ("fp32", True)
        return UNIT[step()] * (10 if slow else 1)

    monkeypatch.setattr(measurement, "_step", step)
    monkeypatch.setattr(measurement, "_timed", timed)
    found = measurement.measure("cpu")
    assert (found["precision"], found["channels_last"]) == ("bf16", False)


def test_another_processor_under_the_same_name_is_measured_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: list[str]
) -> None:
    for limit in ("AVX2", "AVX2", "AVX512_CORE_BF16"):
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
        choose(tmp_path, device="cpu")
    assert len(times) == 2


def test_compiling_is_refused_where_it_can_not_be_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(what: Any) -> Any:
        raise RuntimeError("no C++ compiler\nand more")

    monkeypatch.setattr(torch, "compile", fail)
    with pytest.raises(UsageError, match=r"compiled=true: .*no C\+\+ compiler; leave it out, or install"):
        choose(tmp_path, device="cpu", precision="fp32", compiled=True)
