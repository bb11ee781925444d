"""Several ranks do one run: one decides, all end alike, and a kill costs time and no bit."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import small_options
from safetensors.numpy import load_file
from torch._C._distributed_c10d import FileStore

from divcon import dist
from divcon.api.launching import OUTCOME, _outcome
from divcon.data.synthetic import make_collection
from divcon.errors import DataError, LostError, StoppedError, to_json, was_told
from divcon.ranks import Place, first_host, place

OPTIONS = small_options(epochs=1, ranks=3)
RESULTS = {"encoder.safetensors", "clusters.parquet", "centroids.npy", "index.arrow"}


# what ranks do together


def _each(rank: int, folder: Path, do: Callable[[Path], Any]) -> None:
    with dist.joined(FileStore(f"{folder}/store", 3), Place(rank, 3, rank, "", 0)):
        (folder / f"{rank}.json").write_text(json.dumps(do(folder)))


def on_three(folder: Path, do: Callable[[Path], Any]) -> list[Any]:
    """What the function answers on each of three ranks; None for a rank that ended without an answer."""
    spawn = multiprocessing.get_context("spawn")
    ranks = [spawn.Process(target=_each, args=(rank, folder, do)) for rank in range(3)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
    answers = [folder / f"{rank}.json" for rank in range(3)]
    return [json.loads(file.read_text()) if file.exists() else None for file in answers]


def _together(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"answer": dist.on_leader(lambda: ["of", dist.rank(), dist.world_size()])}
    try:
        dist.on_leader(_refuse)
    except DataError as error:
        found["refused"] = [str(error), was_told(error)]
    try:
        dist.on_leader(lambda: 1 // 0)
    except Exception as error:
        found["unknown"] = [type(error).__name__, "ZeroDivisionError" in repr(error)]
    log = folder / "first"
    dist.first_on_host(lambda: log.write_text(f"{log.read_text() if log.exists() else ''}{dist.world_size()}"))
    found["claims"] = []
    for _ in range(2):  # a second division of the same name begins its own count
        with dist.split("experts", 1) as part:
            found["part"] = [part.number, part.parts, dist.world_size()]
            while (claim := part.claim()) < 7:
                found["claims"].append(claim)
                time.sleep(0.05)
            part.wait_for_others()
    with dist.split("pairs", 2) as part:
        found["pair"] = [part.number, dist.world_size(), dist.on_leader(lambda: 10 * (part.number or 0))]
        part.wait_for_others()
    return found


def _refuse() -> None:
    raise DataError("too few images")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return on_three(tmp_path_factory.mktemp("three"), _together)


def test_the_leader_answers_for_all_and_works_alone(three: list[dict[str, Any]]) -> None:
    assert [rank["answer"] for rank in three] == [["of", 0, 1]] * 3


def test_an_error_of_the_leader_is_raised_on_all_and_told_by_one(three: list[dict[str, Any]]) -> None:
    assert [rank["refused"] for rank in three] == [["too few images", rank > 0] for rank in range(3)]
    assert [rank["unknown"] for rank in three] == [["ZeroDivisionError", True], *[["FaultError", True]] * 2]


def test_each_expert_is_claimed_by_one_part(three: list[dict[str, Any]]) -> None:
    assert sorted(claim for rank in three for claim in rank["claims"]) == sorted(2 * [*range(7)])
    assert [rank["part"] for rank in three] == [[number, 3, 1] for number in range(3)]


def test_a_rank_that_is_left_over_waits_for_the_others(three: list[dict[str, Any]]) -> None:
    assert [rank["pair"] for rank in three] == [[0, 2, 0], [0, 2, 0], [None, 1, 0]]


def _lose_one(folder: Path) -> str:
    if dist.rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        dist.any_rank(True)
    except LostError as error:
        return str(error)
    return "nothing"


def test_a_rank_whose_peer_was_killed_says_so(tmp_path: Path) -> None:
    first, killed, last = on_three(tmp_path, _lose_one)
    assert killed is None and all("another rank is gone" in told for told in (first, last))


# where a process is


def test_a_process_knows_its_launcher() -> None:
    assert place({}) is None and place({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}) is None, "a batch script is no step"
    theirs = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "29500"}
    assert place(theirs) is None, "a program may have set these for itself"
    torchrun = {**theirs, "TORCHELASTIC_RUN_ID": "x", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    assert place(torchrun) == Place(3, 8, 1, "a", 29500)
    rank = place({**torchrun, "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "4"})
    assert rank is not None and rank.speaks, "the first of a host, where there are others"
    slurm = {
        "SLURM_PROCID": "5",
        "SLURM_STEP_NUM_TASKS": "8",
        "SLURM_LOCALID": "1",
        "SLURM_JOB_ID": "77",
        "SLURM_STEP_ID": "0",
    }
    found = place({**slurm, "SLURM_STEP_NODELIST": "node[03-07,9],other"})
    assert found is not None and (found.rank, found.world, found.local_rank, found.address) == (5, 8, 1, "node03")
    assert not found.serves


@pytest.mark.parametrize(
    ("nodes", "first"), [("a", "a"), ("a,b", "a"), ("gpu-[12,14]", "gpu-12"), ("r1n[001-010]x,b", "r1n001x")]
)
def test_the_first_host_of_slurms_list_is_found(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


# how the ranks ended


def test_the_first_error_of_a_rank_is_that_of_the_run(tmp_path: Path) -> None:
    lost, own = LostError("another rank is gone"), DataError("an image changed")
    stopped = {**to_json(StoppedError("stopped by SIGTERM: base is saved")), "told": False}
    for rank, (error, told) in enumerate([(lost, True), (own, False)]):
        (tmp_path / OUTCOME.format(rank)).write_text(json.dumps({**to_json(error), "told": told}))
    (tmp_path / OUTCOME.format(2)).write_text(json.dumps(stopped))
    with pytest.raises(DataError, match="an image changed"):
        _outcome(tmp_path, 3, "")
    (tmp_path / OUTCOME.format(1)).unlink()
    with pytest.raises(LostError, match="rank 1 was ended by SIGKILL"):
        _outcome(tmp_path, 3, "rank 1 was ended by SIGKILL")
    with pytest.raises(StoppedError, match="base is saved"):
        _outcome(tmp_path, 3, "SIGTERM")


# whole runs


def command(images: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "divcon", "run", str(images), f"out={out}", *OPTIONS, *more]


def results(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in sorted(run.rglob("*")) if path.name in RESULTS}


def finish(images: Path, out: Path) -> dict[str, bytes]:
    done = subprocess.run(command(images, out), capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return results(out)


def ranks_of(launcher: int) -> list[int]:
    """The processes that a launcher has started, in the order of ranks."""
    listed = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return sorted(
        map(int, listed), key=lambda pid: re.findall(rb"\0RANK=(\d+)", Path(f"/proc/{pid}/environ").read_bytes())
    )


def disturb(images: Path, out: Path, there: str, whom: str, by: signal.Signals) -> tuple[int, str]:
    """Begin the run, send a signal once a file is there, and return the exit code and the last line of stderr."""
    begun = subprocess.Popen(command(images, out), stderr=subprocess.PIPE, text=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not any(out.glob(there)) and begun.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    ranks = ranks_of(begun.pid)
    for pid in {"leader": ranks[:1], "rank": ranks[1:2], "launcher": [begun.pid], "all": [begun.pid, *ranks]}[whom]:
        os.kill(pid, by)
    _, said = begun.communicate(timeout=100)
    gone_by = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in ranks) and time.monotonic() < gone_by:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in ranks), "a rank outlived its launcher"
    return begun.returncode, said.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_collection(tmp_path_factory.mktemp("pile"), 200, size=32)


@pytest.fixture(scope="module")
def undisturbed(images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    run = tmp_path_factory.mktemp("runs") / "undisturbed"
    return run, finish(images, run)


def test_a_killed_rank_costs_no_bit(images: Path, tmp_path: Path, undisturbed: tuple[Path, dict[str, bytes]]) -> None:
    run = tmp_path / "run"
    code, said = disturb(images, run, "experts/*/state.json", "rank", signal.SIGKILL)
    assert code == 71 and "rank 1 was ended by SIGKILL" in said
    assert finish(images, run) == undisturbed[1]


def test_the_base_of_three_ranks_is_that_of_one_but_for_rounding(
    images: Path, tmp_path: Path, undisturbed: tuple[Path, dict[str, bytes]]
) -> None:
    words = [*command(images, tmp_path / "one", "--only", "base"), "ranks=1"]
    words.remove("ranks=3")
    assert subprocess.run(words, capture_output=True, timeout=280).returncode == 0
    one, three = (load_file(run / "base/encoder.safetensors") for run in (tmp_path / "one", undisturbed[0]))
    for (
        name,
        weights,
    ) in one.items():  # AdamW makes a whole step of a gradient of nearly nothing, so single weights may differ
        assert np.linalg.norm(three[name] - weights) <= 0.01 * max(1e-3, np.linalg.norm(weights)), name


@pytest.mark.slow
def test_a_stop_of_three_ranks_saves_and_costs_no_bit(
    images: Path, tmp_path: Path, undisturbed: tuple[Path, dict[str, bytes]]
) -> None:
    code, said = disturb(images, tmp_path / "run", "base/checkpoints/step-0000000[2-9]", "launcher", signal.SIGTERM)
    assert code == 75 and "stopped by SIGTERM: base is saved at step" in said
    assert finish(images, tmp_path / "run") == undisturbed[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("there", "whom"),
    [
        ("base/checkpoints/step-0000000[2-9]", "all"),
        ("base/checkpoints/step-0000000[4-9]", "leader"),
        ("base/checkpoints/step-0000000[3-9]", "launcher"),
        ("clusters/state.json", "rank"),
        ("clusters/state.json", "launcher"),
        ("experts/1/state.json", "rank"),
        ("experts/*/checkpoints/step-*", "all"),
        ("checks/state.json", "leader"),
        ("student/state.json", "launcher"),
        ("student/checkpoints/step-0000000[2-9]", "rank"),
    ],
)
def test_a_kill_at_any_place_costs_no_bit(
    there: str, whom: str, images: Path, tmp_path: Path, undisturbed: tuple[Path, dict[str, bytes]]
) -> None:
    code, said = disturb(images, tmp_path / "run", there, whom, signal.SIGKILL)
    assert code == (-9 if whom in ("launcher", "all") else 71), said
    assert finish(images, tmp_path / "run") == undisturbed[1]
