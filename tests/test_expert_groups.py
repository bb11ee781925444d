"""An expert has one set of bits: by any number of groups of ranks, with kills, and one at a time in any order."""

import contextlib
import os
import random
import shutil
import signal
import threading
from pathlib import Path

import pytest
from processes import Command, done, small_options
from test_ranks import ranks_of

import divcon
from divcon.data.synthetic import make_collection
from divcon.errors import LostError, OwnedError

pytestmark = pytest.mark.slow
FIVE = range(5)
OPTIONS = small_options(epochs=6, **{"clusters.k": 5})
THERE = "experts/*/checkpoints/step-*"


def words(images: Path, out: Path, base: Path, *more: str) -> list[str]:
    return ["run", str(images), f"out={out}", f"base={base}", *OPTIONS, *more]


def experts(run: Path) -> dict[int, bytes]:
    return {i: path.read_bytes() for i in FIVE if (path := run / f"experts/{i}/encoder.safetensors").exists()}


def ranks_of_launcher(launcher: int) -> list[int]:
    """The processes of ranks that a launcher has started; none, if it has ended."""
    with contextlib.suppress(FileNotFoundError):
        return [pid for pid in ranks_of(launcher) if b"rank_process" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return []


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_collection(tmp_path_factory.mktemp("pile"), 400, size=32)


@pytest.fixture(scope="module")
def base(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that all runs share: on several ranks it would be rounded differently."""
    out = tmp_path_factory.mktemp("base") / "run"
    code, said = done(["run", str(images), f"out={out}", *OPTIONS, "ranks=1", "--only", "base"])
    assert code == 0, said
    return out / "base"


@pytest.fixture(scope="module")
def one_group(images: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("groups") / "one"
    code, said = done(words(images, out, base, "ranks=1"))
    assert code == 0 and len(experts(out)) == 5, said
    return out


@pytest.fixture
def undone(one_group: Path, tmp_path: Path) -> Path:
    """A run whose experts are still to be done."""
    run = shutil.copytree(one_group, tmp_path / "run")
    for i in FIVE:
        divcon.redo(run, f"experts/{i}")
    assert experts(run) == {}
    return run


def test_the_five_experts_differ(one_group: Path) -> None:
    assert len(set(experts(one_group).values())) == 5


@pytest.mark.parametrize("groups", [2, 3])
def test_experts_have_the_same_bits_by_one_group_and_by_several(
    groups: int, images: Path, base: Path, one_group: Path, tmp_path: Path
) -> None:
    code, said = done(words(images, tmp_path / "run", base, f"ranks={groups}"))
    assert code == 0, said
    assert experts(tmp_path / "run") == experts(one_group)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_experts_have_the_same_bits_after_kills(
    seed: int, images: Path, base: Path, one_group: Path, tmp_path: Path
) -> None:
    run, rng, killed = tmp_path / "run", random.Random(seed), 0
    for _ in range(3):
        before = {path.parent for path in run.glob("experts/*/stage.json")}
        command = Command(words(images, run, base, "ranks=2"))
        command.wait_for(lambda _, before=before: any(path.parents[1] not in before for path in run.glob(THERE)))  # type: ignore[misc]
        ranks = ranks_of_launcher(command.process.pid or 0)
        if len(ranks) == 2:
            os.kill(ranks[rng.randrange(2)], signal.SIGKILL)
        code, said = command.end()
        killed += code == LostError.code
        assert code in (0, LostError.code), said  # the last experts may be done before the kill
    assert killed
    code, said = done(words(images, run, base, "ranks=2"))
    assert code == 0, said
    assert experts(run) == experts(one_group)


@pytest.mark.parametrize("order", [[3, 0, 4, 2, 1], [4, 3, 2, 1, 0]])
def test_experts_have_the_same_bits_one_at_a_time(
    order: list[int], images: Path, base: Path, one_group: Path, undone: Path
) -> None:
    for turn, i in enumerate(order):
        code, said = done(words(images, undone, base, "--only", f"experts/{i}"))
        assert code == 0 and set(experts(undone)) == {*order[: turn + 1]}, said
    assert experts(undone) == experts(one_group)


def test_experts_have_the_same_bits_by_two_jobs_at_the_same_time(
    images: Path, base: Path, one_group: Path, undone: Path
) -> None:
    codes = dict[tuple[int, int], tuple[int, str]]()

    def job(number: int, order: list[int]) -> None:
        for i in order:
            codes[number, i] = done(words(images, undone, base, "--only", f"experts/{i}"))

    jobs = [threading.Thread(target=job, args=(number, order)) for number, order in enumerate([[*FIVE], [*FIVE][::-1]])]
    for thread in jobs:
        thread.start()
    for thread in jobs:
        thread.join()
    assert all(code in (0, OwnedError.code) for code, _ in codes.values()), codes
    assert all(0 in (codes[0, i][0], codes[1, i][0]) for i in FIVE)
    assert experts(undone) == experts(one_group)
