"""Asked to stop, robbed of its folder, kept waiting, or with a clock gone wrong: a run ends as it says, and goes on."""

import contextlib
import errno
import json
import os
import random
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import processes
import pytest
from conftest import TINY
from test_pipeline import EPOCHS, at_work, command, finished, stable, training

import divcon
from divcon import failpoints, log
from divcon.data import images as module
from divcon.data.images import open_images
from divcon.data.sources import reader_threads
from divcon.data.sources.source import ByteRange
from divcon.errors import DataError, OwnedError, ResourceError
from divcon.files.atomic import orphaned_parts, part_path
from divcon.files.integrity import mismatches, seal, write_json
from divcon.log import Progress
from divcon.runs import owner


def stopped(words: list[str], stage: Path, *numbers: int) -> tuple[int, str]:
    """Once the stage has a new checkpoint, send the signals; the exit code and what was said."""
    started = processes.Command(words).wait_for(training(stage))
    for number in numbers:
        started.hit(number)
    return started.end(20)


def test_a_warning_from_a_scheduler_is_heard_like_sigterm(photos: Path, tmp_path: Path) -> None:
    words = command(photos, tmp_path / "run", "save_every=0")
    ended, said = stopped(words, tmp_path / "run/base", signal.SIGUSR1)
    assert ended == 75 and "stopped by SIGUSR1: base is saved at step" in said, said
    assert "type the same command again to go on" in said and "Traceback" not in said
    assert not list((tmp_path / "run").rglob("lock*"))
    assert processes.done(words)[0] == 0
    assert stable(tmp_path / "run") == stable(finished(photos))


def test_a_second_ctrl_c_ends_it_at_once_and_what_was_saved_before_is_kept(photos: Path, tmp_path: Path) -> None:
    words = command(photos, tmp_path / "run", "save_every=0")
    code, said = stopped(words, tmp_path / "run/base", signal.SIGINT, signal.SIGINT)
    assert code == 130 and "Traceback" not in said, said
    (*_, newest) = sorted((tmp_path / "run/base/checkpoints").glob("step-????????"))
    assert mismatches(newest / "MANIFEST.json") == []
    assert divcon.status(tmp_path / "run").stages["base"].state == "interrupted"


def test_two_runs_in_one_folder_the_second_names_the_owner_and_the_first_is_not_disturbed(
    photos: Path, tmp_path: Path
) -> None:
    words = command(photos, tmp_path / "run", "save_every=0")
    first = processes.Command(words).wait_for(at_work(tmp_path / "run/base"))
    code, said = processes.done(words)
    assert code == 73, said
    assert f"is in use by process {first.process.pid} on {socket.gethostname()}" in said and "--steal-lock" in said
    assert first.end()[0] == 0
    assert stable(tmp_path / "run") == stable(finished(photos))


@pytest.mark.parametrize("save_every", [0, 1000])
@pytest.mark.parametrize(("stage", "moment"), [("base", 3), ("checks", 0)])
def test_who_was_robbed_of_its_folder_writes_nothing_more_there(
    photos: Path, tmp_path: Path, stage: str, moment: int, save_every: float
) -> None:
    thief = seal(json.dumps(asdict(owner.this_process()) | {"pid": 1, "host": "elsewhere"}))
    run, seen = tmp_path / "run", dict[str, bytes]()

    def rob(tick: Progress) -> None:
        if stage == "base" == tick.what and tick.done == moment:
            take()

    def take() -> None:
        (run / stage / "lock").write_text(thief)
        seen.update(contents(run / stage))

    def at(name: str) -> None:
        if (stage, name) == ("checks", "compare.some"):
            take()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "watch", rob)
        patch.setattr(failpoints, "at", at)
        with pytest.raises(OwnedError, match=r"taken over by process 1 on elsewhere; nothing more is written there"):
            divcon.run(photos, out=run, epochs=EPOCHS, save_every=save_every, **TINY)
    assert contents(run / stage) == seen and len(seen) > 1


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_lock_with_a_flipped_bit_lets_nobody_in_beside_its_owner(tmp_path: Path) -> None:
    with owner.owned(tmp_path):
        good = (tmp_path / "lock").read_bytes()
        for place in range(0, 8 * len(good), 7):  # every bit of a byte is flipped in some byte
            bad = bytearray(good)
            bad[place // 8] ^= 1 << place % 8
            (tmp_path / "lock").write_bytes(bad)
            with pytest.raises(OwnedError), owner.owned(tmp_path):
                pass
        (tmp_path / "lock").write_bytes(good)


def test_of_many_who_want_a_folder_at_once_one_has_it_at_a_time(tmp_path: Path) -> None:
    program = (
        "import sys, time, pathlib\nfrom divcon.runs import owner\nfrom divcon.errors import OwnedError\n"
        "folder, won = pathlib.Path(sys.argv[1]), 0\n"
        "for _ in range(150):\n"
        "    try:\n"
        "        with owner.owned(folder):\n"
        "            with (folder / 'inside').open('x'):\n"
        "                time.sleep(0.0005)\n"
        "            (folder / 'inside').unlink()\n"
        "            won += 1\n"
        "    except OwnedError:\n"
        "        time.sleep(0.0005)\n"
        "print(won)"
    )
    crowd = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) for _ in range(4)]
    won = [int(process.communicate(timeout=60)[0] or -1) for process in crowd]
    assert min(won) >= 0 and sum(won) > 20, won
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", ["the answer is lost", "no hard links", "cleared away"])
def test_a_file_system_that_links_badly_gives_a_lock_to_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    link, calls = os.link, list[Path]()

    def bad(mine: Path, path: Path) -> None:
        calls.append(path)
        if fault == "no hard links":
            raise OSError(1, "Operation not permitted")
        if fault == "cleared away" and len(calls) == 1:
            mine.unlink()
        link(mine, path)
        if fault == "the answer is lost":
            raise FileExistsError(17, "File exists")

    monkeypatch.setattr(os, "link", bad)
    with owner.owned(tmp_path):
        assert owner.owner_of(tmp_path) == owner.this_process()
        with pytest.raises(OwnedError), owner.owned(tmp_path):
            pass
        owner.check(tmp_path)
    assert list(tmp_path.iterdir()) == [] and calls


@pytest.mark.parametrize(("times", "free"), [(2, True), (1000, False)])
def test_a_lock_that_can_not_be_read_for_a_moment_is_read_again_and_one_that_stays_so_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int, free: bool
) -> None:
    read, left = owner.read_regular_file, [times]

    def stale(path: Path) -> bytes:
        left[0] -= 1
        if left[0] >= 0 and path.name == "lock":
            raise OSError(errno.ESTALE, "Stale file handle")
        return read(path)

    (tmp_path / "lock").write_text(seal(json.dumps(asdict(owner.this_process()) | {"pid": 1, "started": "0"})))
    with monkeypatch.context() as patch:
        patch.setattr(owner, "read_regular_file", stale)
        taken = contextlib.nullcontext() if free else pytest.raises(OwnedError, match="--steal-lock")
        with taken, owner.owned(tmp_path):
            owner.check(tmp_path)
    assert (tmp_path / "lock").exists() != free


def test_clocks_that_jump_by_days_change_nothing(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, now, now_ns = random.Random(0), time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: now() + rng.choice((-86400, 0, 86400)))
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() + rng.choice((-86400, 0, 86400)) * 10**9)
    options: dict[str, Any] = {**TINY, "epochs": EPOCHS, "cache": tmp_path / "cache", "save_every": 0}
    asked = list[int]()

    def stop(tick: Progress) -> None:
        if tick.what == "student" and tick.done == 3:
            asked.append(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(log, "watch", stop)
        patch.setattr("divcon.signals._received", asked)
        with pytest.raises(Exception, match="student is saved at step 3"):
            divcon.run(photos, out=tmp_path / "run", **options)
    assert divcon.run(photos, out=tmp_path / "run", **options).done
    assert stable(tmp_path / "run") == stable(finished(photos))


def test_what_dead_processes_left_is_cleared_away_and_what_living_ones_write_is_not(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    path = tmp_path / "run.json"
    stale, alive = (
        path.with_name(part_path(path).name.replace(f".{os.getpid()}.", f".{pid}.")) for pid in (gone.pid, os.getppid())
    )
    elsewhere = path.with_name(f"run.json.elsewhere.{gone.pid}.part")
    for left in (stale, alive, elsewhere):
        left.write_text("half")
    assert list(orphaned_parts(path)) == [stale]
    write_json(path, {})
    assert {left.name for left in tmp_path.iterdir()} == {"run.json", alive.name, elsewhere.name}


# readers that hang


def test_an_image_that_can_not_be_read_to_its_end_is_named_and_nobody_waits_for_ever(
    photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = open_images(photos, cache=cache)
    bad, release, read = os.fsdecode(images.names(np.array([17]))[0]), threading.Event(), module.read_bytes

    def slow(byte_range: ByteRange) -> bytes:
        if byte_range.file == os.fsencode(photos / bad):
            release.wait(30)
        return read(byte_range)

    def look(i: int) -> None:
        images.read(np.array([i]))

    monkeypatch.setattr(reader_threads, "HANG_SECONDS", 0.3)
    monkeypatch.setattr(reader_threads, "JOIN_SECONDS", 0.1)
    monkeypatch.setattr(module, "read_bytes", slow)
    with pytest.raises(
        ResourceError, match=r"no image was finished for 0.3 s, while reading " + re.escape(bad)
    ) as error:
        reader_threads.parallel_map(look, range(30), 3)
    release.set()
    assert error.value.code == 71


HANGS = """
import sys, time
from divcon import cli
from divcon.data import images
from divcon.data.sources import reader_threads
reader_threads.HANG_SECONDS = reader_threads.JOIN_SECONDS = 0.5
images.read_bytes = lambda byte_range: time.sleep(1000)
sys.argv = ["divcon", *sys.argv[1:]]
cli.main()
"""


def test_a_run_whose_reader_hangs_ends_with_its_code_and_leaves_no_lock(photos: Path, tmp_path: Path) -> None:
    words = command(photos, tmp_path / "run", f"cache={tmp_path / 'cache'}")
    ended = subprocess.run([sys.executable, "-c", HANGS, *words], capture_output=True, text=True, timeout=60)
    assert (
        ended.returncode == 71 and "reading hangs: no image was finished for 0.5 s, while reading " in ended.stderr
    ), ended.stderr
    assert "Check that its disk or network answers" in ended.stderr and "Traceback" not in ended.stderr
    assert not list((tmp_path / "run").rglob("lock*"))
    assert divcon.status(tmp_path / "run").stages["base"].state == "failed"


def test_a_fifo_in_the_place_of_an_image_is_named_and_not_waited_for(photos: Path, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "photos").mkdir()
    for path in sorted(photos.glob("*/*"))[:20]:
        (tmp_path / "photos" / f"{path.parent.name}-{path.name}").write_bytes(path.read_bytes())
    images = open_images(tmp_path / "photos", cache=cache)
    name = images.names(np.array([3]))[0]
    path = tmp_path / "photos" / os.fsdecode(name)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match=f"{path.name} in .* has changed .*no regular file any more"):
        images.read(np.arange(20))


def test_errors_of_readers_come_through_and_stop_the_others() -> None:
    begun = list[int]()

    def fails(start: int) -> None:
        begun.append(start)
        if start == 3:
            raise DataError("three")
        time.sleep(0.001)

    with pytest.raises(DataError, match="three"):
        reader_threads.parallel_map(fails, range(1000), 2)
    time.sleep(0.05)
    assert len(begun) < 500
    reader_threads.parallel_map(begun.append, range(0), 4)


# memory


def test_too_little_memory_says_how_much_was_held_and_the_two_settings_to_lower(photos: Path, tmp_path: Path) -> None:
    statm = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    big = ["encoder=resnet50", "size=224", "hidden=64"]
    words = [
        word for word in command(photos, tmp_path / "run") if word.split("=")[0] not in ("encoder", "size", "hidden")
    ]
    code, said = processes.done([*words, *big], limits={resource.RLIMIT_AS: statm + 2**29})
    assert code == 71 and "Traceback" not in said, said
    assert re.search(r"out of memory: this process has held up to [\d,]+ MB", said), said
    assert "Lower batch_size= or size=" in said and "type the same command again" in said
