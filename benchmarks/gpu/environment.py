"""The GPU, its software, and what a run chooses there."""

import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from divcon import machine as machines
from divcon.clustering.kmeans import kmeans
from divcon.clustering.neighbors import nearest
from divcon.data.views.presets import PRESETS
from divcon.data.views.render import views_of
from divcon.machine.measurement import stored_measurement

from .checks import Found, Notes, Place, alone
from .methods import toy_pixels


def environment(place: Place, notes: Notes) -> None:
    notes.put(torch=torch.__version__, cores=len(os.sched_getaffinity(0)))
    if place.on_gpu:
        notes.put(**gpu())
    begin = time.perf_counter()
    chosen = machines.choose(place.cache, device=place.device)
    notes.put(choose_seconds=round(time.perf_counter() - begin, 2))
    notes.put(precision=chosen.precision, channels_last=chosen.channels_last, compiled=chosen.compiled)
    notes.put(step_seconds=stored_measurement(place.cache, place.device).get("seconds"))
    if place.on_gpu:
        notes.claim("bfloat16 is chosen on a GPU that has it", float(chosen.precision == "bf16"), at_least=1)
        notes.claim("channels last is chosen", float(chosen.channels_last), at_least=1)


def gpu() -> dict[str, Any]:
    about = torch.cuda.get_device_properties(0)
    driver = subprocess.run(
        ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True, text=True
    )
    return {
        "gpu": about.name, "capability": f"{about.major}.{about.minor}", "gpu_memory_gb": about.total_memory >> 30,
        "driver": driver.stdout.strip(), "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
        "bf16": torch.cuda.is_bf16_supported(),
    }  # fmt: skip


def kernels(place: Place, found: Found, seconds: float) -> None:
    """The seconds that the first call of each compiled kernel takes. The code is kept for the other checks. Each kernel is
    compiled in a process of its own, all at the same time."""
    deadline = time.monotonic() + seconds
    with ThreadPoolExecutor(len(WORKS)) as pool:
        each = [Found() for _ in WORKS]
        list(pool.map(lambda own, name: alone(own, compile_one, deadline - time.monotonic(), name), each, WORKS))
    for own in each:
        found.put(**own.figures)
        found.error = found.error or own.error


def compile_one(name: str, notes: Notes) -> None:
    begin = time.perf_counter()
    WORKS[name]()
    notes.put(**{name: round(time.perf_counter() - begin, 1)})


def make_views() -> None:
    some = np.arange(16)
    views_of(PRESETS["byol"](32)[1], *toy_pixels().read(some), ("gpu",), some)


def make_clusters() -> None:
    kmeans(torch.randn(3000, 32), 20, seed=0, rounds=2, restarts=1)


def find_neighbors() -> None:
    x = torch.randn(3000, 32)
    nearest(x, x, 5)


WORKS = {"views": make_views, "kmeans": make_clusters, "neighbors": find_neighbors}
