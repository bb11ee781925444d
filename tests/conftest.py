"""Fixtures of all tests: a made collection, a cache, and the smallest of runs."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # small products wait for one another longer than they work
os.environ.setdefault(
    "NUMBA_CACHE_DIR", str(Path(os.environ.get("DIVCON_CACHE", "~/.cache/divcon")).expanduser() / "numba")
)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts us behind its back has it ignored

# Power cuts have tests of their own (test_power.py); in the others a disk would only be waited for, ten thousand times.
os.fsync = lambda handle: None

os.environ["DIVCON_REPORT"] = "0"  # hundreds of tiny runs need none; the tests of reports ask for one

TINY = {
    "encoder": "slim10_w8", "size": 16, "batch_size": 16, "clusters.k": 2, "clusters.smallest": 16,
    "hidden": 32, "dim": 16, "precision": "fp32",
}  # fmt: skip


# The files that take longest, begun first: two workers then end at about the same time. The first two compile different
# kernels, where none are compiled yet.
LONG = (
    "test_methods", "test_clustering", "test_pipeline", "test_ranks", "test_plan", "test_studies", "test_cycles", "test_faults", "test_stops",
    "test_recipes", "test_distributed", "test_experts", "test_shards", "test_inputs", "test_collapse", "test_disk", "test_damage",
    "test_races", "test_nets", "test_compare", "test_export", "test_two_hosts", "test_encoders", "test_evals", "test_closed_caches",
    "test_views", "test_strangers", "test_exchanged",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of this session's own; compiled code is kept between sessions."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("DIVCON_CACHE")
    os.environ["DIVCON_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["DIVCON_CACHE"]
    else:
        os.environ["DIVCON_CACHE"] = before


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """160 made pictures in folders that are their classes."""
    from divcon.data.synthetic import make_collection

    return make_collection(tmp_path_factory.mktemp("photos"), 160, size=32)


@pytest.fixture
def tiny() -> dict[str, object]:
    """Options of a run that takes seconds."""
    return dict(TINY)
