"""Two hosts: name spaces of network, processes, files and names, joined by a cable that can be pulled out. It needs root."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

CABLE = "cable0"
LAUNCHER = "torch.distributed.run"
HOLD = "hostname {name} && ip link set lo up && echo ready && exec sleep 3600"
ADDRESSES = {"alpha": "10.77.0.1", "beta": "10.77.0.2"}
OWN = "127.0.1.1"  # the address of a host's own name, as Debian writes it into /etc/hosts
SPACES = ["--net", "--uts", "--mount", "--pid"]


@dataclass
class Host:
    """A host with an address of its own; it sees the same files as the other one."""

    name: str
    folder: Path
    holder: subprocess.Popen[str] = field(init=False)
    pid: int = field(init=False)

    def __post_init__(self) -> None:
        words = [
            "unshare",
            *SPACES,
            "--fork",
            "--mount-proc",
            "--kill-child",
            "bash",
            "-c",
            HOLD.format(name=self.name),
        ]
        self.holder = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout is not None and self.holder.stdout.readline() == "ready\n"
        (self.pid,) = map(int, Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").read_text().split())
        names = self.folder / f"{self.name}-hosts"
        lines = [f"{OWN if name == self.name else address} {name}" for name, address in ADDRESSES.items()]
        names.write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))
        self.do("mount", "--bind", str(names), "/etc/hosts")

    def words(self, *words: str) -> list[str]:
        """The words of a command on this host."""
        return ["nsenter", f"--target={self.pid}", *SPACES, f"--wd={Path.cwd()}", *words]

    def do(self, *words: str) -> None:
        subprocess.run(self.words(*words), check=True, capture_output=True)

    def begin(self, words: list[str], environment: Mapping[str, str] | None = None) -> "Begun":
        """Begin a command on this host."""
        log = self.folder / f"{self.name}-{time.monotonic_ns()}.log"
        with log.open("w") as out:
            process = subprocess.Popen(
                self.words(*words), stdout=out, stderr=out, env={**os.environ, **(environment or {})}
            )
        return Begun(process, log)

    def processes(self) -> list[str]:
        """The command lines of the processes of this host that run Python."""
        told = subprocess.run(self.words("ps", "-eo", "pid=,stat=,args="), capture_output=True, text=True, check=True)
        return [line for line in told.stdout.splitlines() if sys.executable in line]

    def launcher(self) -> str:
        """The number of the launcher's process on this host."""
        (line,) = [line for line in self.processes() if LAUNCHER in line]
        return line.split()[0]

    def rank(self) -> str:
        """The number of the process of the rank on this host."""
        (line,) = [line for line in self.processes() if LAUNCHER not in line]
        return line.split()[0]

    def kill(self, number: str) -> None:
        self.do("kill", "-KILL", number)

    def end(self) -> None:
        self.holder.kill()
        self.holder.wait()


@dataclass
class Begun:
    """A command that was begun, and the file of all it says."""

    process: subprocess.Popen[bytes]
    log: Path

    def end(self, seconds: float) -> int:
        """The exit code. TimeoutExpired, if it takes longer."""
        return self.process.wait(seconds)

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")


def why_not() -> str:
    """The reason why hosts can't be made here; an empty text if they can."""
    if sys.platform != "linux" or not all(shutil.which(name) for name in ("unshare", "nsenter", "ip", "ps", "mount")):
        return "needs Linux with unshare, nsenter, ip and ps"
    made = subprocess.run(
        ["unshare", *SPACES, "--fork", "--mount-proc", "ip", "link", "add", CABLE, "type", "veth", "peer", "name", "x"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"name spaces can't be made: {made.stderr.strip()}" if made.returncode else ""


@contextlib.contextmanager
def two_hosts(folder: Path) -> Iterator[tuple[Host, Host]]:
    """Two hosts that are joined by a cable."""
    with contextlib.ExitStack() as stack:
        hosts = Host("alpha", folder), Host("beta", folder)
        for host in hosts:
            stack.callback(host.end)
        ends = [["netns", str(host.pid)] for host in hosts]
        subprocess.run(
            ["ip", "link", "add", CABLE, *ends[0], "type", "veth", "peer", "name", CABLE, *ends[1]], check=True
        )
        for host in hosts:
            host.do("ip", "address", "add", f"{ADDRESSES[host.name]}/24", "dev", CABLE)
            plug(host)
        yield hosts


def pull_out(host: Host) -> None:
    """Pull the cable out at this host: nobody is told, packets get lost."""
    host.do("ip", "link", "set", CABLE, "down")


def plug(host: Host) -> None:
    host.do("ip", "link", "set", CABLE, "up")
