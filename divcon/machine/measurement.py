"""The measurement that chooses the precision and the memory format: those in which a small step is fastest."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NotRequired, TypedDict

from ..log import info
from .settings import PRECISIONS, Machine, Precision
from .stored import machine_name, measured_once

ComputeFormat = tuple[Precision, bool]  # the precision, and True for channels last in memory
MIN_BF16_GAIN, MIN_CHANNELS_FIRST_GAIN = 1.5, 1.25  # times as fast as the default: less may be noise
MIN_BF16_GAIN_ON_GPU = 1.05
REPEATS = 7


class Measurement(TypedDict):
    """The fastest precision and memory format of a machine, and the seconds of a step in each."""

    precision: Precision
    channels_last: bool
    seconds: NotRequired[dict[str, float]]


def stored_measurement(cache: Path, device: str) -> Measurement:
    """The measurement of this machine in the cache; it is measured and stored if it is not there."""
    return measured_once(cache, "machine.json", machine_name(device), lambda: measure(device))


def measure(device: str) -> Measurement:
    """Measure the precision and memory format in which a small convolutional step is fastest on the device.

    Other work on the machine must not decide. So the formats are timed in turns, on one thread and by the clock of that
    thread, and the shortest time of each counts.
    """
    formats = {(p, last): Machine(device, p, last) for p in PRECISIONS for last in (True, False)}
    with Machine(device).use():
        seconds = _shortest({key: _step(machine) for key, machine in formats.items()}, device)
    precision, channels_last = fastest(seconds, device)
    gain = seconds["fp32", False] / seconds[precision, channels_last]
    info(
        f"{precision}, {'channels last' if channels_last else 'channels first'}: {gain:.1f} times plain fp32 on this machine"
    )
    return {"precision": precision, "channels_last": channels_last, "seconds": _rounded(seconds)}


def fastest(seconds: Mapping[ComputeFormat, float], device: str = "cpu") -> ComputeFormat:
    """Return bf16, or channels first, if it is faster by a clear margin; else fp32, or channels last.

    A processor with units for bf16 is 2 to 3 times as fast in it, one without them 3 to 15 times as slow. A real network
    gains more from channels last than the two convolutions that are measured, and on a GPU more from bf16 (H200: 1.27 here).
    """
    least = MIN_BF16_GAIN if device == "cpu" else MIN_BF16_GAIN_ON_GPU
    best = {p: min(seconds[p, True], seconds[p, False]) for p in PRECISIONS}
    precision: Precision = "bf16" if best["bf16"] * least < best["fp32"] else "fp32"
    return precision, seconds[precision, False] * MIN_CHANNELS_FIRST_GAIN >= seconds[precision, True]


def _shortest(steps: Mapping[ComputeFormat, Callable[[], None]], device: str) -> dict[ComputeFormat, float]:
    """The shortest of REPEATS times of each step; the steps take turns."""
    turns = [[_timed(step, device) for step in steps.values()] for _ in range(REPEATS)]
    return {key: min(times) for key, times in zip(steps, zip(*turns))}


def _rounded(seconds: Mapping[ComputeFormat, float]) -> dict[str, float]:
    return {f"{p} channels {'last' if last else 'first'}": round(s, 5) for (p, last), s in seconds.items()}


def _step(machine: Machine) -> Callable[[], None]:
    """Return a function that does a forward and backward pass of two convolutions.

    A GPU does the step of a CPU in less time than it takes to begin it, in any format, so it gets a larger one.
    """
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(0)
    batch, side, width = (8, 16, 64) if machine.device == "cpu" else (128, 56, 128)
    net = nn.Sequential(
        nn.Conv2d(width // 2, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, 1, 1)
    )
    machine.to_device(net)
    x = torch.rand(batch, width // 2, side, side, generator=generator).to(machine.device)
    x = x.to(memory_format=machine.memory_format)

    def step() -> None:
        with machine.autocast():
            net(x).float().square().mean().backward()

    return step


def _timed(step: Callable[[], None], device: str) -> float:
    """The seconds of a step; on a CPU of this thread alone, so that time without a core does not count."""
    clock = time.thread_time if device == "cpu" else time.perf_counter
    _synchronize(device)
    begin = clock()
    step()
    _synchronize(device)
    return clock() - begin


def _synchronize(device: str) -> None:
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
