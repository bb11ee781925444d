"""How a machine is chosen, and what is switched on and off while it computes."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from divcon import machine
from divcon.errors import UsageError
from divcon.machine import Machine, Way, choose, fastest

PAGES_ASKED_FOR = """
import resource, torch
from divcon.machine import Machine

def share(mb):
    "Of the pages that so much takes, asked for and freed twenty times, those that the system has to hand out anew."
    torch.ones(mb * 2**20, dtype=torch.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(mb * 2**20, dtype=torch.uint8)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / (20 * mb * 256)

with Machine(keep_memory=False).use():
    print(share(48))
with Machine().use():
    with Machine().use():
        print(share(48))
    print(share(48))
print(share(48), share(1), share(8), share(24))
"""


def test_freed_memory_is_kept_while_a_machine_is_used_and_given_back_as_before_afterwards() -> None:
    """In a process of its own: holes that others left in the heap would be used first."""
    said = subprocess.run([sys.executable, "-c", PAGES_ASKED_FOR], capture_output=True, text=True, check=True)
    anew, inner, kept, large, *small = map(float, said.stdout.split())
    assert anew > 0.8 and max(inner, kept) < 0.5 and large > 0.8
    assert max(small) < 0.5  # as in a process that nobody meddled with


def test_what_is_asked_for_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "measured", lambda *_: pytest.fail("measured"))
    asked: dict[str, Any] = {"precision": "bf16", "layout": "first", "shortcuts": False, "readers": 3}
    chosen = choose(tmp_path, device="cpu", **asked)
    assert (chosen.precision, chosen.layout, chosen.readers) == ("bf16", torch.contiguous_format, 3)
    assert not chosen.shortcuts and not chosen.compiled and chosen.keep_memory


def test_a_machine_is_measured_once_and_a_layout_that_is_asked_for_is_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[str] = []

    def measured(device: str) -> dict[str, Any]:
        times.append(device)
        return {"precision": "bf16", "channels_last": True}

    monkeypatch.setattr(machine, "measured", measured)
    machines = [choose(tmp_path, device="cpu", layout=layout) for layout in ("auto", "first", "last")]
    assert times == ["cpu"] and [m.channels_last for m in machines] == [True, False, True]


NEAR = {("fp32", True): 1.0, ("fp32", False): 0.9, ("bf16", True): 0.8, ("bf16", False): 0.75}
UNIT = {("fp32", True): 1.0, ("fp32", False): 0.9, ("bf16", True): 0.5, ("bf16", False): 0.3}
NO_UNIT = {("fp32", True): 1.0, ("fp32", False): 0.9, ("bf16", True): 9.0, ("bf16", False): 8.0}


@pytest.mark.parametrize(
    ("seconds", "way"), [(NEAR, ("fp32", True)), (UNIT, ("bf16", False)), (NO_UNIT, ("fp32", True))]
)
def test_what_is_not_clearly_faster_is_not_chosen(seconds: dict[Way, float], way: Way) -> None:
    assert fastest(seconds) == way


@pytest.mark.parametrize("busy", [range(2, 7), range(5), range(0, 7, 2)], ids=["late", "early", "now and then"])
def test_other_work_while_a_machine_is_measured_decides_nothing(monkeypatch: pytest.MonkeyPatch, busy: range) -> None:
    """It makes a way ten times slower while it lasts, whichever it meets."""
    calls = dict.fromkeys(UNIT, 0)

    def step(machine: Machine) -> Any:
        return lambda: (machine.precision, machine.channels_last)

    def timed(step: Any, device: str) -> float:
        calls[step()] += 1
        slow = calls[step()] - 1 in busy and step() != ("fp32", True)
        return UNIT[step()] * (10 if slow else 1)

    monkeypatch.setattr(machine, "_step", step)
    monkeypatch.setattr(machine, "_timed", timed)
    found = machine.measured("cpu")
    assert (found["precision"], found["channels_last"]) == ("bf16", False)


def test_another_processor_under_the_same_name_is_measured_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[str] = []

    def measured(device: str) -> dict[str, Any]:
        times.append(device)
        return {"precision": "fp32", "channels_last": True}

    monkeypatch.setattr(machine, "measured", measured)
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
