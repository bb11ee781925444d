"""A hundred kills at random moments, over the whole pipeline: `make kills`.

    python tests/kills.py [kills=100] [seed=0] [log=kills.log]

One run after the other is begun in a new folder with a new cache, killed and begun again until it is finished; then its
files are compared with those of a run that nothing disturbed. Each kill is a line of the log: when, and in which stage.
With kills=0 the kills are not random: at each place of DIVCON_FAULT that a run passes often, when it is passed for the
second, third, fifth ... time.
"""

import hashlib
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from conftest import TINY
from processes import Command, done
from test_pipeline import stable

import divcon
from divcon import failpoints
from divcon.data.synthetic import make_collection
from divcon.errors import Error

EPOCHS = 8
COUNTS = (2, 3, 5, 8, 13, 21, 34, 55, 89)
MEAN = 0.45  # of an undisturbed run's time: how long a process lives on average


class Walk:
    """Runs of one collection, and the log."""

    def __init__(self, folder: Path, log: Path, seed: int):
        self.folder, self.log, self.rng = folder, log.open("w"), np.random.default_rng(seed)
        self.photos = make_collection(folder / "photos", 160, size=32)
        self.kills = self.runs = 0
        begin = time.monotonic()
        self.expected = self._finish(folder / "undisturbed")
        self.took = time.monotonic() - begin
        self.say(f"undisturbed: {self.took:.1f} s, {len(self.expected)} files, sha256 {digest(self.expected)}")

    def say(self, line: str) -> None:
        for out in (self.log, sys.stdout):
            out.write(f"{line}\n")
            out.flush()

    def words(self, run: Path) -> list[str]:
        options = [f"{key}={value}" for key, value in {**TINY, "epochs": EPOCHS, "save_every": 0.05}.items()]
        return ["run", str(self.photos), f"out={run}", f"cache={run}.cache", *options]

    def one(self, most: int) -> None:
        """A run, killed until a process lives long enough to finish it."""
        run = self.folder / f"run{self.runs}"
        self.runs += 1
        while self.kills < most and self._killed(run):
            pass
        self.compare(run)

    def compare(self, run: Path) -> None:
        """Go on to the end, and look at every file."""
        found = self._finish(run)
        left = [path for name in ("*.part", "lock*", "checkpoints", "state.json") for path in run.rglob(name)]
        if found != self.expected or left or divcon.status(run, verify=True).damaged:
            self.say(
                f"{run.name}: DIFFERS: {[name for name in found if found[name] != self.expected.get(name)]} {left}"
            )
            sys.exit(1)
        self.say(f"{run.name}: finished, the same {len(found)} files")

    def place(self, name: str) -> None:
        """Runs that die at the place, each when it is passed more often than by the last, until it is not."""
        for count in COUNTS:
            run = self.folder / f"{name}.{count}"
            code, said = done(self.words(run), {failpoints.VARIABLE: f"{name}:{count}"})
            if code != -signal.SIGKILL:
                self.check(code, said)
                break
            self.kills += 1
            self.say(f"kill {self.kills}: at {name}, passing {count}: {where(run)}")
            self.compare(run)

    def _killed(self, run: Path) -> bool:
        process, seconds = Command(self.words(run)), float(self.rng.exponential(MEAN * self.took))
        process.process.join(seconds)
        if process.process.exitcode is not None:
            code, said = process.end()
            self.check(code, said)
            return False
        process.hit().end()
        self.kills += 1
        self.say(f"kill {self.kills}: {run.name}, after {seconds:.3f} s: {where(run)}")
        return True

    def check(self, code: int, said: str) -> None:
        if code != 0:
            self.say(f"exit code {code}: {said}")
            sys.exit(1)

    def _finish(self, run: Path) -> dict[str, bytes]:
        self.check(*done(self.words(run)))
        return stable(run)


def where(run: Path) -> str:
    """The stage that was at work, as the run's folder tells it."""
    try:
        states = {name: stage.state for name, stage in divcon.status(run).stages.items()}
    except Error:
        return "before the first stage"
    return next((name for name, state in states.items() if state == "interrupted"), "between stages")


def digest(files: dict[str, bytes]) -> str:
    return hashlib.sha256(b"".join(name.encode() + content for name, content in sorted(files.items()))).hexdigest()


def main(kills: int = 100, seed: int = 0, log: str = "kills.log") -> None:
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("DIVCON_CACHE", f"{folder}/cache")
        walk = Walk(Path(folder), Path(log), seed)
        for name in failpoints.POINTS if kills == 0 else ():
            walk.place(name)
        while walk.kills < kills:
            walk.one(kills)
        walk.say(f"{walk.kills} kills, every run with the same bytes: {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    typed = dict(word.split("=") for word in sys.argv[1:])
    main(int(typed.get("kills", 100)), int(typed.get("seed", 0)), typed.get("log", "kills.log"))
