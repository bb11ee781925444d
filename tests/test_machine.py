"""How a machine is chosen, and what is switched on and off while it computes."""

import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from divcon import machine
from divcon.errors import UsageError
from divcon.machine import Machine, choose


def faults(machine: Machine) -> int:
    """Pages that the system has to hand out while 48 MB are asked for and freed twenty times."""
    with machine.use():
        np.ones(48 * 2**20, np.uint8)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(20):
            np.ones(48 * 2**20, np.uint8)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_freed_memory_is_kept_while_a_machine_is_used_and_given_back_as_before_afterwards() -> None:
    before, kept, after = faults(Machine(keep_memory=False)), faults(Machine()), faults(Machine(keep_memory=False))
    assert kept < 0.2 * before and kept < 0.2 * after


def test_what_is_asked_for_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "measured", lambda device: pytest.fail("measured"))
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


def test_compiling_is_refused_where_it_can_not_be_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(what: Any) -> Any:
        raise RuntimeError("no C++ compiler\nand more")

    monkeypatch.setattr(torch, "compile", fail)
    with pytest.raises(UsageError, match=r"compiled=true: .*no C\+\+ compiler; leave it out, or install"):
        choose(tmp_path, device="cpu", precision="fp32", compiled=True)
