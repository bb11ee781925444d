"""Peers in processes of their own: which BLAS kernel they compute with is read from the environment once, at the start.

OpenBLAS doesn't know every processor: where it picks a slow kernel for one, the peer is given the kernel that is fastest
with it.
"""

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .pairs import seconds

KERNELS = ("", "SkylakeX", "Zen", "Haswell")  # the first is OpenBLAS's own choice
Sides = tuple[Callable[[], object], Callable[[], object]]  # the work that is timed, and what writes down its outcome


class Peer:
    """A function that makes a peer's `Sides`, called in a process that waits to be told to work, or to write."""

    def __init__(self, function: Callable[..., Sides], arguments: Sequence[str], kernel: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS")}
        environment |= {"OPENBLAS_CORETYPE": kernel} if kernel else {}
        command = [sys.executable, "-W", "ignore", "-m", __name__, function.__module__, function.__name__, *arguments]
        self.function, self.kernel = function, kernel
        self.process = subprocess.Popen(
            command, env=environment, cwd=Path(__file__).parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        self._wait()

    def __str__(self) -> str:
        return f"{self.function.__name__.rsplit('_', 1)[0].replace('_', '-')}, BLAS kernel {self.kernel or 'its own'}"

    def __call__(self) -> None:
        self._tell("work")

    def write(self) -> None:
        self._tell("write")

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()

    def _tell(self, what: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        self._wait()

    def _wait(self) -> None:
        assert self.process.stdout is not None
        if not self.process.stdout.readline():
            raise RuntimeError(f"{self} has ended; what it said is above")


def fastest(functions: Sequence[Callable[..., Sides]], arguments: Sequence[str], trial: Sequence[str] = ()) -> Peer:
    """The fastest of the functions with the fastest kernel for it, by the better of two turns at the `trial` arguments."""
    spent = {}
    for function in functions:
        for kernel in KERNELS:
            peer = Peer(function, trial or arguments, kernel)
            spent[function, kernel] = min(seconds(peer), seconds(peer))
            peer.close()
    function, kernel = min(spent, key=spent.__getitem__)
    return Peer(function, arguments, kernel)


def main(module: str, name: str, *arguments: str) -> None:
    """Make the work ready, and do as each line says."""
    work, write = getattr(importlib.import_module(module), name)(*arguments)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        (write if line.strip() == "write" else work)()
        sys.stdout.write("done\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
