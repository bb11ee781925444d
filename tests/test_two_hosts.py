"""Two hosts do one run: it has the bytes of two ranks on one host, whatever happens to a host or to the cable between them."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hosts import LAUNCHER, Begun, Host, plug, pull_out, two_hosts, why_not
from processes import small_options
from test_ranks import results

from divcon.data.synthetic import make_collection

OPTIONS = small_options(epochs=6)
PATIENCE = 10.0  # seconds after which a rank that is silent is lost
ENDS_WITHIN = 60.0  # seconds, on a machine that is busy: a process needs some of them to end
RETRIES = ("sysctl", "-w", "net.ipv4.tcp_retries2=5")  # torchrun itself waits as long as the kernel does
PLACES = {
    "c10d": ["--rdzv-backend=c10d", "--rdzv-endpoint=alpha:29400", "--rdzv-id=job"],
    "static": ["--master-addr=alpha", "--master-port=29400"],
}
EXCHANGE = """
import sys, time
from divcon import dist
from divcon.errors import LostError
with dist.joined():
    print(dist.any_rank(dist.rank() == 0, dist.rank() == 1, False), flush=True)
    sys.stdin.readline()
    begun = time.monotonic()
    try:
        dist.on_leader(lambda: time.sleep(60))
    except LostError as error:
        print(f"after {time.monotonic() - begun:.1f} s: {error}", flush=True)
"""
WHY_NOT = why_not()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "hosts can be made")


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    with two_hosts(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_collection(tmp_path_factory.mktemp("pile"), 200, size=32)


@pytest.fixture(scope="module")
def on_one_host(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("runs") / "one"
    words = [sys.executable, "-m", "divcon", "run", str(images), f"out={out}", *OPTIONS, "ranks=2"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return results(out)


class Job:
    """The same command on two hosts, and what became of it."""

    def __init__(self, hosts: tuple[Host, Host], images: Path, out: Path, place: str = "c10d", restarts: int = 0):
        self.hosts, self.out = hosts, out
        self.divcon = ["-m", "divcon", "run", str(images), f"out={out}", *OPTIONS]
        self.torchrun = [
            "-m",
            LAUNCHER,
            "--nnodes=2",
            "--nproc-per-node=1",
            f"--max-restarts={restarts}",
            *PLACES[place],
        ]
        self.begun: dict[int, Begun] = {}

    def begin(self, *, first: int = 0, late: float = 0) -> "Job":
        """Type it on one host, and later on the other one."""
        for node in (first, 1 - first):
            if node != first:
                time.sleep(late)
            self._type(node, [*self.torchrun, f"--node-rank={node}", *self.divcon], {})
        return self

    def begin_by_slurm(self, job: int) -> "Job":
        """Begin it as srun does: as a task with Slurm's variables on each host."""
        for node in range(2):
            step = {"SLURM_JOB_ID": job, "SLURM_STEP_ID": 0, "SLURM_STEP_NUM_TASKS": 2, "SLURM_STEP_NUM_NODES": 2}
            place = {"SLURM_PROCID": node, "SLURM_LOCALID": 0, "SLURM_STEP_NODELIST": "alpha,beta"}
            self._type(node, self.divcon, {name: str(value) for name, value in {**step, **place}.items()})
        return self

    def _type(self, node: int, words: list[str], variables: Mapping[str, str]) -> None:
        root = str(Path(__file__).parents[1])
        environment = {"DIVCON_RANK_TIMEOUT": str(PATIENCE), "OMP_NUM_THREADS": "1", "PYTHONPATH": root, **variables}
        environment.update({name: "" for name in os.environ if name.startswith("GLOO_")})
        self.begun[node] = self.hosts[node].begin([sys.executable, *words], environment)

    def at(self, there: str) -> "Job":
        """Wait until a file is there."""
        deadline = time.monotonic() + 200
        while not any(self.out.glob(there)):
            assert time.monotonic() < deadline and self._running(), self.said()
            time.sleep(0.02)
        assert self._running(), self.said()
        return self

    def _running(self) -> bool:
        return all(begun.process.poll() is None for begun in self.begun.values())

    def said(self) -> str:
        return "\n".join(f"{self.hosts[node].name}:\n{begun.said}" for node, begun in self.begun.items())

    def ends(self, within: float) -> list[int]:
        """The exit codes on both hosts, on which nothing must be left."""
        codes = [self.begun[node].end(within) for node in range(2)]
        gone_by = time.monotonic() + 10
        while (left := [host.processes() for host in self.hosts]) != [[], []] and time.monotonic() < gone_by:
            time.sleep(0.1)
        assert left == [[], []]
        return codes

    def done(self) -> dict[str, bytes]:
        assert self.ends(280) == [0, 0], self.said()
        return results(self.out)


def test_hosts_whose_names_are_loopback_addresses_reach_each_other_and_notice_a_cut(hosts: tuple[Host, Host]) -> None:
    step = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "alpha,beta", "DIVCON_RANK_TIMEOUT": "3"}
    words = [sys.executable, "-c", EXCHANGE]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    ranks = [
        subprocess.Popen(host.words(*words), env={**os.environ, **step, "SLURM_PROCID": str(rank)}, **pipes)  # type: ignore[call-overload]
        for rank, host in enumerate(hosts)
    ]
    assert [rank.stdout.readline() for rank in ranks] == ["(True, True, False)\n"] * 2
    pull_out(hosts[0])
    told = ranks[1].communicate("\n", timeout=30)[0]
    assert "another rank is gone" in told or "no sign of life" in told
    hosts[0].end()
    ranks[0].communicate()


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, 1])
def test_two_hosts_give_the_bytes_of_one_though_one_of_them_comes_late(
    first: int, hosts: tuple[Host, Host], images: Path, tmp_path: Path, on_one_host: dict[str, bytes]
) -> None:
    assert Job(hosts, images, tmp_path / "run").begin(first=first, late=20).done() == on_one_host


@pytest.mark.slow
@pytest.mark.parametrize(
    ("there", "place", "side"),
    [
        ("base/checkpoints/step-0000000[3-9]", "c10d", 1),
        ("base/checkpoints/step-0000000[5-9]", "static", 0),
        ("clusters/state.json", "static", 1),
        ("experts/*/checkpoints/step-*", "c10d", 0),
        ("experts/*/checkpoints/step-*", "static", 1),
        ("student/checkpoints/step-0000000[2-9]", "static", 1),
    ],
)
def test_a_host_that_was_cut_off_ends_and_costs_no_bit(
    there: str,
    place: str,
    side: int,
    hosts: tuple[Host, Host],
    images: Path,
    tmp_path: Path,
    on_one_host: dict[str, bytes],
) -> None:
    for host in hosts if place == "c10d" else ():
        host.do(*RETRIES)
    job = Job(hosts, images, tmp_path / "run", place).begin().at(there)
    pull_out(hosts[side])
    assert 0 not in job.ends(PATIENCE + ENDS_WITHIN)
    for begun in job.begun.values():
        (told,) = [line for line in begun.said.splitlines() if line.startswith("divcon: ")]
        assert told.endswith("type the same command again to go on from what is saved"), told
    assert not list(job.out.rglob("lock*"))
    plug(hosts[side])
    assert Job(hosts, images, tmp_path / "run", place).begin().done() == on_one_host


@pytest.mark.slow
@pytest.mark.parametrize(
    ("there", "side"), [("base/checkpoints/step-0000000[3-9]", 0), ("experts/*/checkpoints/step-*", 1)]
)
def test_a_launcher_that_is_killed_takes_its_rank_along_and_costs_no_bit(
    there: str, side: int, hosts: tuple[Host, Host], images: Path, tmp_path: Path, on_one_host: dict[str, bytes]
) -> None:
    job = Job(hosts, images, tmp_path / "run").begin().at(there)
    hosts[side].kill(hosts[side].launcher())
    assert 0 not in job.ends(PATIENCE + ENDS_WITHIN)
    assert "divcon: " in job.begun[1 - side].said
    assert Job(hosts, images, tmp_path / "run").begin().done() == on_one_host


@pytest.mark.slow
@pytest.mark.parametrize("side", [0, 1])
def test_a_launcher_that_restarts_its_ranks_brings_both_hosts_back(
    side: int, hosts: tuple[Host, Host], images: Path, tmp_path: Path, on_one_host: dict[str, bytes]
) -> None:
    job = Job(hosts, images, tmp_path / "run", restarts=2).begin().at("base/checkpoints/step-0000000[3-9]")
    hosts[side].kill(hosts[side].rank())
    job.at("student/checkpoints/step-0000000[2-9]")
    hosts[1 - side].kill(hosts[1 - side].rank())
    assert job.done() == on_one_host


@pytest.mark.slow
def test_tasks_of_slurm_meet_across_hosts(
    hosts: tuple[Host, Host], images: Path, tmp_path: Path, on_one_host: dict[str, bytes]
) -> None:
    job = Job(hosts, images, tmp_path / "run").begin_by_slurm(71).at("base/checkpoints/step-0000000[3-9]")
    pull_out(hosts[1])
    assert job.ends(PATIENCE + ENDS_WITHIN) == [71, 71]
    plug(hosts[1])
    assert Job(hosts, images, tmp_path / "run").begin_by_slurm(72).done() == on_one_host
