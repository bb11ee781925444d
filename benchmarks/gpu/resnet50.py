"""ResNet-50 at 224 pixels by MoCLR from JPEG files: how fast, what waits, what costs."""

import collections
import warnings
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from .checks import Notes, Place
from .training import Training, machine_of, steps_of

TOP = 12
WAIT = 0.05  # of the time of a step, at most, is spent on waiting for data


def resnet50(place: Place, notes: Notes) -> None:
    if place.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    training = Training(place, machine_of(place))
    files = training.timed(steps_of(place, 30))
    notes.put(files=files)
    if place.on_gpu:
        notes.put(gpu_memory_gb=round(torch.cuda.max_memory_allocated() / 2**30, 1))
        notes.claim("ResNet-50 from JPEG files: share of time waiting for data", files["data_wait"], at_most=WAIT)
    notes.put(synchronizations=synchronizations(training, place))
    notes.put(profile=largest(training, place))
    training.prepare_batch()
    notes.put(ready=training.timed(steps_of(place, 20)))
    del training
    notes.put(cached=Training(place, machine_of(place), cache_gb=8).timed(steps_of(place, 25)))


def slower(place: Place, notes: Notes) -> None:
    """The same without channels last, and in float32, on tensors that lie ready."""
    for name, machine in {
        "channels_first": machine_of(place, channels_last=False),
        "fp32": machine_of(place, "fp32"),
    }.items():
        training = Training(place, machine)
        training.prepare_batch()
        notes.put(**{name: training.timed(steps_of(place, 8), warmup=2)})
        del training
        if place.on_gpu:
            torch.cuda.empty_cache()


def compiled(place: Place, notes: Notes) -> None:
    """The same with torch.compile, on tensors that lie ready; the first steps compile."""
    training = Training(place, machine_of(place, compiled=True))
    training.prepare_batch()
    notes.put(first_steps=training.timed(1, warmup=0))
    notes.put(then=training.timed(steps_of(place, 20), warmup=3))


def synchronizations(training: Training, place: Place) -> dict[str, int]:
    """The lines at which the CPU waits for the GPU inside a step: how many times in two steps."""
    if not place.on_gpu:
        return {}
    with training.machine.use(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        for _ in range(2):
            training.step()
        torch.cuda.set_sync_debug_mode("default")
    lines = [w for w in caught if "synchroniz" in str(w.message)]
    return dict(collections.Counter(f"{short(w.filename)}:{w.lineno}" for w in lines))


def short(file: str) -> str:
    return "/".join(Path(file).parts[-3:])


def largest(training: Training, place: Place) -> list[dict[str, Any]]:
    """The operations that take most time in two steps, on the device and on the CPU."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if place.on_gpu else [])]
    with training.machine.use(), profile(activities=activities) as profiled:
        for _ in range(steps_of(place, 2)):
            training.step()
        training._synchronize()
    rows = [
        {
            "operation": event.key[:80], "calls": event.count,
            "device_ms": round(event.self_device_time_total / 1e3, 1), "cpu_ms": round(event.self_cpu_time_total / 1e3, 1),
        }
        for event in profiled.key_averages()
    ]  # fmt: skip
    by_cpu, by_device = (sorted(rows, key=lambda row: -row[key]) for key in ("cpu_ms", "device_ms"))
    return [*by_device[:TOP], {"operation": "the most on the CPU:"}, *by_cpu[:TOP]] if place.on_gpu else by_cpu[:TOP]
