"""What a command starts beside itself ends with it, however it ends, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from conftest import TINY
from processes import Command

from divcon.api import processes, rank_reports
from divcon.api.processes import NEW, OWNER, PREFIX, shared_folder, started

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def age(folder: Path) -> None:
    os.utime(folder, (time.time() - 2 * NEW,) * 2)


def test_all_started_processes_are_ended_when_one_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[subprocess.Popen[str]] = []

    class Counted(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: object, **options: object):
            super().__init__(*args, **options)  # type: ignore[call-overload]
            begun.append(self)

    monkeypatch.setattr(processes.subprocess, "Popen", Counted)
    with pytest.raises(FileNotFoundError), started([SLEEP, ["no such program"]]):
        pass
    assert [process.returncode for process in begun] == [-signal.SIGKILL]


def test_a_folder_is_gone_afterwards_and_so_are_those_that_killed_commands_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, other = tmp_path / f"{PREFIX}left", tmp_path / "other"
    for folder in (left, other):
        folder.mkdir()
        (folder / OWNER).touch()
        age(folder)
    with shared_folder() as folder:
        age(folder)
        assert {path.name for path in tmp_path.iterdir()} == {folder.name, "other"}
        with shared_folder() as second:
            assert folder.is_dir() and second.is_dir()  # a command that lives keeps its own
    assert {path.name for path in tmp_path.iterdir()} == {"other"}


def test_a_new_folder_that_is_not_locked_yet_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"{PREFIX}new").mkdir()
    with shared_folder():
        pass
    assert [path.name for path in tmp_path.iterdir()] == [f"{PREFIX}new"]


@pytest.mark.parametrize("said", [b"", b'["log", [20, "half a li', b'["log", 1]\n', b"null\n"])
def test_half_a_report_of_a_killed_rank_does_not_hold_the_launcher(tmp_path: Path, said: bytes) -> None:
    def shown() -> None:
        with rank_reports.shown_here(tmp_path, 1), (tmp_path / rank_reports.PIPE.format(0)).open("wb") as pipe:
            pipe.write(said)

    thread = threading.Thread(target=shown, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()


def test_a_report_that_nobody_can_show_does_not_stop_those_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[int] = []

    def show(kind: str, content: int) -> None:
        shown.append(content)
        raise BrokenPipeError

    monkeypatch.setattr(rank_reports, "_show_report", show)
    with rank_reports.shown_here(tmp_path, 1), (tmp_path / rank_reports.PIPE.format(0)).open("w") as pipe:
        pipe.write('["log", 1]\n["log", 2]\n')
    assert shown == [1, 2]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_plan_on_ranks_that_is_stopped_leaves_no_process(
    number: int, code: int, photos: Path, tmp_path: Path
) -> None:
    words = ["run", str(photos), f"out={tmp_path / 'run'}", *(f"{k}={v}" for k, v in TINY.items()), "--plan", "ranks=2"]
    command = Command([*words, f"cache={tmp_path / 'cache'}"], {"TMPDIR": str(tmp_path)})
    command.wait_for(lambda pid: bool(ranks_below(tmp_path))).hit(number)
    assert command.end(60)[0] == code
    deadline = time.monotonic() + 20
    while ranks_below(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ranks_below(tmp_path) == []
    if number == signal.SIGTERM:
        assert not list(tmp_path.glob(f"{PREFIX}*"))


def test_a_rank_whose_launcher_was_killed_while_it_was_imported_ends_at_once(tmp_path: Path) -> None:
    """Its parent is another process then; here it is from the begin."""
    gone = str(os.getppid())
    words = [sys.executable, "-m", "divcon.api.trial_process", str(tmp_path), gone, "0"]
    assert subprocess.run(words, check=False, timeout=120).returncode == -signal.SIGKILL
    assert not [*tmp_path.iterdir()]


def ranks_below(folder: Path) -> list[str]:
    """The processes that try stages for a plan, with their folder here."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if "trial_process" in words and str(folder) in words:
            found.append(words)
    return found
