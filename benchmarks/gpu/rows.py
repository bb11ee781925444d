"""k-means and nearest neighbors on the device against the CPU: the same answers, and how fast."""

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from divcon.clustering.kmeans import KMeans, kmeans
from divcon.clustering.neighbors import nearest
from divcon.machine import Machine, available_cores

from .checks import Notes, Place

DIM = 256


def clustering(place: Place, notes: Notes) -> None:
    machine = Machine(compute_threads=available_cores())
    with machine.use():
        small, large = (2000, 20_000) if place.tiny else (100_000, 1_000_000)
        compare(place, notes, small, 20 if place.tiny else 100, "small")
        neighbors(place, notes, 2000 if place.tiny else 100_000)
        compare(place, notes, large, 50 if place.tiny else 1000, "large")


def compare(place: Place, notes: Notes, n: int, k: int, name: str) -> None:
    """`bf16` products only propose candidates, so they change no result of the CPU."""
    x = mixture(n, k)
    on_device = x.to(place.device)
    ours, seconds = timed(place, lambda: fit(on_device, k))
    notes.put(**{f"kmeans_{name}": {"n": n, "k": k, "device_seconds": seconds}})
    theirs, cpu_seconds = timed(place, lambda: fit(x, k))
    share = float((ours.labels.cpu() == theirs.labels).float().mean())
    excess = abs(ours.inertia / theirs.inertia - 1)
    figures = {"n": n, "k": k, "rounds": ours.rounds, "device_seconds": seconds, "cpu_seconds": cpu_seconds}
    notes.put(**{f"kmeans_{name}": {**figures, "same_labels": share, "inertia_differs": excess}})
    notes.claim(f"k-means of {n:,} rows, K = {k}: rows in the same cluster", share, at_least=0.99)
    notes.claim(f"k-means of {n:,} rows, K = {k}: inertia differs by, relative", excess, at_most=1e-3)


def fit(x: Tensor, k: int) -> KMeans:
    return kmeans(x, k, seed=0, rounds=5, restarts=1)


def neighbors(place: Place, notes: Notes, n: int) -> None:
    x = mixture(n, 100)
    on_device = x.to(place.device)
    timed(place, lambda: nearest(on_device[:1000], on_device, 20))
    (ours, which), seconds = timed(place, lambda: nearest(on_device, on_device, 20))
    (theirs, expected), cpu_seconds = timed(place, lambda: nearest(x, x, 20))
    share, error = float((which.cpu() == expected).float().mean()), float((ours.cpu() - theirs).abs().max())
    notes.put(neighbors={"n": n, "device_seconds": seconds, "cpu_seconds": cpu_seconds, "same": share, "error": error})
    notes.claim(f"{n:,} queries among {n:,} rows: cosines differ by", error, at_most=1e-5)
    notes.claim(f"{n:,} queries among {n:,} rows: the same neighbor at the same place", share, at_least=0.98)


def mixture(n: int, k: int) -> Tensor:
    """Rows around k directions, so that they have clusters, and some have two that are nearly as near."""
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(k, DIM, generator=generator)
    return F.normalize(centers[torch.arange(n) % k] + torch.randn(n, DIM, generator=generator), dim=1)


def timed(place: Place, work: Callable[[], Any]) -> tuple[Any, float]:
    synchronize(place)
    begin = time.perf_counter()
    result = work()
    synchronize(place)
    return result, round(time.perf_counter() - begin, 3)


def synchronize(place: Place) -> None:
    if place.on_gpu:
        torch.cuda.synchronize()
