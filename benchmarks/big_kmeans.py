"""k-means of 10^7 rows of 64 numbers, made, in a mapped file of float16: seconds and peak memory, on one process of two threads
and on two ranks of one thread each. The results are compared bit by bit. The file (1.3 GB) is removed at the end.

    python -m benchmarks.big_kmeans FOLDER [n=10000000] [d=64] [k=100] [rounds=10] [precision=bf16] [copy_gb=2] [ways=1x2,2x1]

`ways` are ranks x threads of each rank. `copy_gb` is the limit of a rank's copy of its rows in `precision`; with 0 there is none.
"""

import hashlib
import json
import multiprocessing
import os
import re
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch._C._distributed_c10d import FileStore

from divcon import dist
from divcon.clustering.kmeans import kmeans
from divcon.ranks import Place

from .bench_memory import Peak

BLOCK = 100_000  # rows made at a time
HEAPS = 3000


@dataclass(frozen=True)
class Case:
    """The options of the command line."""

    n: int = 10_000_000
    d: int = 64
    k: int = 100
    rounds: int = 10
    precision: Literal["fp32", "bf16"] = "bf16"
    copy_gb: float = 2
    ways: str = "1x2,2x1"


def make_rows(file: Path, case: Case) -> None:
    """Write rows around HEAPS random directions, a few of which have most rows."""
    rng = np.random.default_rng(0)
    shares = 1 / np.arange(1, HEAPS + 1)
    centers = rng.standard_normal((HEAPS, case.d), np.float32)
    rows = np.lib.format.open_memmap(file, "w+", np.float16, (case.n, case.d))
    for start in range(0, case.n, BLOCK):
        heap = rng.choice(HEAPS, min(BLOCK, case.n - start), p=shares / shares.sum())
        rows[start : start + BLOCK] = centers[heap] + rng.standard_normal((len(heap), case.d), np.float32)
    rows.flush()


def fit(rank: int, world: int, threads: int, folder: Path, case: Case) -> None:
    """Fit the rows of the file, as one rank of `world`, and write the figures to a file of the folder."""
    torch.set_num_threads(threads)
    with dist.joined(FileStore(f"{folder}/store{world}", world), Place(rank, world, rank, "", 0)):
        figures = measured(folder, case)
    (folder / f"{world}x{threads}.{rank}.json").write_text(json.dumps(figures))


def measured(folder: Path, case: Case) -> dict[str, object]:
    """Fit the rows of the file, and return the figures."""
    x = np.load(folder / "rows.npy", mmap_mode="r")
    copy_bytes = int(case.copy_gb * 2**30)
    kmeans(x[:20_000], min(case.k, 500), seed=0, rounds=1, restarts=1, precision=case.precision)  # compiles
    cpu, begin = time.process_time(), time.perf_counter()
    with Peak() as memory:
        found = kmeans(
            x, case.k, seed=0, rounds=case.rounds, restarts=1, precision=case.precision, copy_bytes=copy_bytes
        )
    wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
    tensors = found.centroids, found.labels, found.distances
    return {
        "seconds": round(wall, 1),
        "processor_seconds": round(cpu, 1),
        "rounds": found.rounds,
        "peak_rss_mb": peak_rss() // 10**6,  # the pages of the file are among them
        "peak_own_mb": memory.most // 10**6,
        "inertia": found.inertia,
        "sha256": hashlib.sha256(b"".join(part.numpy().tobytes() for part in tensors)).hexdigest()[:16],
    }


def peak_rss() -> int:
    found = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found, "VmHWM is Linux's"
    return int(found[1]) * 1024


def figures_of(way: str, folder: Path, case: Case) -> list[dict[str, object]]:
    """Fit in processes of their own, and return the figures of each rank."""
    world, threads = map(int, way.split("x"))
    os.environ["OMP_NUM_THREADS"] = str(threads)
    spawn = multiprocessing.get_context("spawn")
    ranks = [spawn.Process(target=fit, args=(rank, world, threads, folder, case)) for rank in range(world)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    if any(process.exitcode for process in ranks):
        sys.exit(f"{way}: a rank failed")
    return [json.loads((folder / f"{way}.{rank}.json").read_text()) for rank in range(world)]


def main(folder: Path, case: Case) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "rows.npy"
    try:
        make_rows(file, case)
        sys.stdout.write(json.dumps(asdict(case)) + "\n")
        results = set()
        for way in case.ways.split(","):
            for rank, figures in enumerate(figures_of(way, folder, case)):
                sys.stdout.write(f"{way} rank {rank}: {json.dumps(figures)}\n")
                sys.stdout.flush()
                results.add(figures["sha256"])
    finally:
        file.unlink(missing_ok=True)
    sys.exit(0 if len(results) == 1 else "the results differ")


if __name__ == "__main__":
    typed = dict(word.split("=", 1) for word in sys.argv[2:])
    options = {name: type(getattr(Case, name))(value) for name, value in typed.items()}
    main(Path(sys.argv[1]), replace(Case(), **options))
