"""Power cuts, simulated by a model of a disk: after a cut a file has the content of its last fsync, and a folder has the names
of its last fsync or the newest ones. After a cut at any moment a checkpoint, or a stage, is the old one or the new one.
"""

import copy
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from test_runs import Recipe, Text, base, begun, student
from torch import nn

import divcon
from divcon.errors import Error
from divcon.runs import owner
from divcon.runs.run import Run
from divcon.train import checkpoints
from divcon.train.optimizers import make_optimizer

Names = dict[int, dict[str, int]]  # of each folder, by number: what is in it


@dataclass
class Moment:
    """The possible state after a cut at this moment: the synced names, the newest names, and the synced contents."""

    safe: Names
    now: Names
    contents: dict[int, bytes]
    done: int  # the number of pieces of work that had returned before


@dataclass
class Disk:
    """Watch a folder while files are written to it. Files and folders have numbers, because inodes are used again."""

    root: Path
    safe: Names = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)
    numbers: dict[int, int] = field(default_factory=dict)
    moments: list[Moment] = field(default_factory=list)
    done: int = 0

    def number(self, path: Path) -> int:
        return self.numbers.setdefault(path.lstat().st_ino, 1 + max(self.numbers.values(), default=0))

    def look(self) -> None:
        """Record the state that a cut at this moment may leave."""
        now = {}
        for folder in (self.root, *(path for path in self.root.rglob("*") if path.is_dir())):
            now[self.number(folder)] = {path.name: self.number(path) for path in folder.iterdir()}
        self.moments.append(Moment(copy.deepcopy(self.safe), now, dict(self.contents), self.done))

    def synced(self, path: Path) -> None:
        if path.is_dir():
            self.safe[self.number(path)] = {item.name: self.number(item) for item in path.iterdir()}
        else:
            self.contents[self.number(path)] = path.read_bytes()

    def gone(self, path: Path) -> None:
        """Forget the number of a removed file: its inode may be used again."""
        if path.is_dir() or path.lstat().st_nlink == 1:
            self.numbers[path.lstat().st_ino] = 1 + max(self.numbers.values(), default=0)

    def cuts(self) -> Iterator[tuple[Moment, Names]]:
        """Yield every state that a cut may leave, once."""
        seen = set[str]()
        for moment in self.moments:
            for names in (moment.safe, moment.now):
                if (what := repr((names, {n: hash(c) for n, c in moment.contents.items()}, moment.done))) not in seen:
                    seen.add(what)
                    yield moment, names

    def left(self, moment: Moment, names: Names, folder: Path) -> Path:
        """Write the folder as it is after a cut at this moment."""
        self._put(moment, names, self.number(self.root), folder)
        return folder

    def _put(self, moment: Moment, names: Names, number: int, path: Path) -> None:
        path.mkdir(parents=True)
        for name, below in names.get(number, {}).items():
            if below in moment.now or below in moment.safe:
                self._put(moment, names, below, path / name)
            else:
                (path / name).write_bytes(moment.contents.get(below, b""))


def watched(root: Path, patch: pytest.MonkeyPatch) -> Disk:
    """Return a disk that records every fsync and every change of a name below the root."""
    disk = Disk(root)
    disk.synced(root)

    def hook(name: str) -> None:
        do: Callable[..., Any] = getattr(os, name)

        def hooked(first: Any, *args: Any, **how: Any) -> Any:
            if name == "fsync":
                path = Path(f"/proc/self/fd/{first}").readlink()
            else:
                above = how.get("dir_fd")
                path = (Path(f"/proc/self/fd/{above}").readlink() if above is not None else Path()) / os.fspath(first)
            if not path.is_relative_to(root):
                return do(first, *args, **how)
            disk.look()
            if name in ("unlink", "rmdir") and path.exists():
                disk.gone(path)
            if name in ("replace", "rename") and Path(args[0]).is_file():
                disk.gone(Path(args[0]))
            result = do(first, *args, **how)
            if name == "fsync":
                disk.synced(path)
            disk.look()
            return result

        patch.setattr(os, name, hooked)

    for name in ("fsync", "rename", "replace", "unlink", "rmdir", "mkdir"):
        hook(name)
    return disk


def net_at(step: int) -> nn.Module:
    torch.manual_seed(step)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_after_a_power_cut_at_any_moment_the_newest_checkpoint_that_was_committed_or_a_newer_is_loaded(
    tmp_path: Path,
) -> None:
    (tmp_path / "disk").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        disk = watched(tmp_path / "disk", patch)
        for step in range(1, 6):
            net = net_at(step)
            checkpoints.save(tmp_path / "disk/base/checkpoints", step, net, make_optimizer("adamw", net, 0.0))
            disk.done = step
        disk.look()
    cuts = list(disk.cuts())
    for i, (moment, names) in enumerate(cuts):
        folder, net = disk.left(moment, names, tmp_path / f"cut{i}"), net_at(0)
        step = checkpoints.load(folder / "base/checkpoints", net, make_optimizer("adamw", net, 0.0))
        assert moment.done <= step <= moment.done + 1
        assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), net_at(step).state_dict().values()))
    assert len(cuts) > 80


def two_stages(folder: Path) -> Run:
    """Do a run of two stages: a base, and a student of it."""
    run = begun(folder)
    run.stage("student", student, run.stage("base", base, Recipe()), Recipe("b"))
    return run


def test_after_a_power_cut_at_any_moment_a_run_goes_on_and_ends_as_it_would_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        disk = watched(tmp_path / "disk", patch)
        two_stages(tmp_path / "disk")
        disk.done = 1
        disk.look()
    wanted = {name: Text.load(tmp_path / "disk" / name).text for name in ("base", "student")}
    monkeypatch.setattr(owner, "host", lambda: f"{socket.gethostname()} 00000000")  # it was started again
    cuts = list(disk.cuts())
    for i, (moment, names) in enumerate(cuts):
        run = disk.left(moment, names, tmp_path / f"cut{i}")
        did = two_stages(run).did
        assert did == [] or not moment.done
        assert {name: Text.load(run / name).text for name in wanted} == wanted
        assert divcon.status(run, verify=True).damaged == []
    assert len(cuts) > 40


def test_the_model_notices_what_is_not_synced(tmp_path: Path) -> None:
    """A stage that is renamed but never synced does not survive: without that the tests above would prove nothing."""
    (tmp_path / "disk").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        disk = watched(tmp_path / "disk", patch)
        patch.setattr("divcon.files.atomic.fsync", lambda path: None)
        two_stages(tmp_path / "disk")
        disk.look()
    run = disk.left(disk.moments[-1], disk.moments[-1].now, tmp_path / "cut")
    with pytest.raises(Error, match=r"no seal where it should begin with one"):
        begun(run).stage("base", base, Recipe())
