"""Two at once, each at the worst of moments: a folder has one owner, and a run is the run of one command."""

import json
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY
from test_collection import aged
from test_pipeline import command

import divcon
from divcon.data.images import open_images
from divcon.data.index.scan_cache import ScanCache, scan_cache_file
from divcon.data.synthetic import make_collection
from divcon.errors import DataError, OwnedError
from divcon.files.integrity import seal
from divcon.runs import owner

SLOW_TO_JUDGE = """
import json, pathlib, sys, time
from divcon.runs import owner
folder, wait, alive = pathlib.Path(sys.argv[1]), float(sys.argv[2]), owner.Owner.may_be_alive
def slowly(self):
    judged = alive(self)
    time.sleep(wait)
    return judged
owner.Owner.may_be_alive = slowly
with owner.owned(folder):
    (folder / "inside").open("x").close()
    time.sleep(1.0)
    owner.check(folder)
    (folder / "inside").unlink()
"""
SLOW_TO_BEGIN = """
import sys, time
from divcon import cli
from divcon.data.index.index import Index
save = Index.save
def slowly(self, folder, source=""):
    time.sleep(1.5)
    save(self, folder, source)
Index.save = slowly
sys.argv = ["divcon", *sys.argv[1:]]
cli.main()
"""


def begun(program: str, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", program, *words], stderr=subprocess.PIPE, text=True)


def test_who_is_slow_to_judge_a_dead_owner_takes_nothing_from_who_was_quicker(tmp_path: Path) -> None:
    dead = asdict(owner.this_process()) | {"pid": 2**22 + 1, "started": "0"}
    (tmp_path / "lock").write_text(seal(json.dumps(dead)))
    slow = begun(SLOW_TO_JUDGE, str(tmp_path), "0.6")
    time.sleep(0.4)
    quick = begun(SLOW_TO_JUDGE, str(tmp_path), "0")
    said = [process.communicate(timeout=60)[1] for process in (slow, quick)]
    codes = [slow.returncode, quick.returncode]
    assert 0 in codes and all(code == 0 or "OwnedError" in text for code, text in zip(codes, said)), said
    assert all("was taken over" not in text and "FileExistsError" not in text for text in said), said
    assert list(tmp_path.iterdir()) == []


def test_of_two_that_begin_a_run_at_once_one_is_written_down_and_goes_on(
    photos: Path, tmp_path: Path, cache: Path
) -> None:
    first = begun(SLOW_TO_BEGIN, *command(photos, tmp_path / "run"))
    time.sleep(1.0)
    second = begun(SLOW_TO_BEGIN, *command(photos, tmp_path / "run", "limit=120"))
    codes = {"": first, "limit=120": second}
    for process in codes.values():
        process.wait(120)
    (won,) = [more for more, process in codes.items() if process.returncode == 0]
    (other,) = codes.keys() - {won}
    assert codes[other].returncode in (64, 65, 73)
    used = divcon.status(tmp_path / "run").images
    assert used == (120 if won else 160)
    again = begun(
        "from divcon import cli; import sys; sys.argv[0] = 'divcon'; cli.main()",
        *command(photos, tmp_path / "run", *filter(None, [won])),
    )
    assert again.communicate(timeout=60)[1].count("nothing to do") == 1 and again.returncode == 0


def test_who_waits_for_a_folder_for_a_moment_gets_it_or_says_whose_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hold(seconds: float) -> threading.Thread:
        entered = threading.Event()

        def inside() -> None:
            with owner.owned(tmp_path):
                entered.set()
                time.sleep(seconds)

        thread = threading.Thread(target=inside)
        thread.start()
        entered.wait()
        return thread

    holder = hold(0.3)
    with owner.owned_briefly(tmp_path):
        assert owner.owner_of(tmp_path) == owner.this_process()
    holder.join()
    monkeypatch.setattr(owner, "PATIENCE", 0.1)
    holder = hold(1.0)
    with pytest.raises(OwnedError, match="is in use by process"), owner.owned_briefly(tmp_path):
        pass
    holder.join()


def test_many_readers_that_find_many_changed_files_leave_a_memory_that_is_whole(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos = aged(make_collection(tmp_path / "photos", 60, size=16))
    images = open_images(photos, cache=cache)
    names = images.names(np.arange(len(images)))
    for name in names:
        path = photos / name.decode()
        path.write_bytes(path.read_bytes() + b"x")

    def look(position: int) -> None:
        with pytest.raises(DataError, match="has changed"):
            images.read(np.array([position]))

    hands = [threading.Thread(target=look, args=(i,)) for i in range(len(images))]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join()
    caplog.clear()
    scan_cache = ScanCache.load(scan_cache_file(images.source, cache))
    assert "damaged" not in caplog.text and not {*names} & {*scan_cache.paths()}


def test_the_lock_of_a_machine_that_is_gone_is_named_and_given_way_to_who_steals_it(
    photos: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, "PATIENCE", 0.1)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/lock").write_text(seal(json.dumps(asdict(owner.this_process()) | {"host": "elsewhere"})))
    options = {**TINY, "recipe": "moclr", "epochs": 1, "hidden": 32, "dim": 16}
    options = {key: value for key, value in options.items() if "." not in key}
    with pytest.raises(OwnedError, match=r"is in use by process \d+ on elsewhere: .*--steal-lock"):
        divcon.run(photos, out=tmp_path / "run", **options)
    assert divcon.run(photos, out=tmp_path / "run", steal_lock=True, **options).done
    assert not list((tmp_path / "run").rglob("lock*"))


def test_a_process_of_another_container_may_be_alive_and_one_that_has_ended_is_not(tmp_path: Path) -> None:
    name, boot, space = owner.host().split()
    assert owner.Owner.of({"host": f"{name} {boot} pid:[1]", "pid": 2**22 + 1, "started": "0"}).may_be_alive()
    assert not owner.Owner.of({"host": f"{name} 00000000 {space}", "pid": 2**22 + 1, "started": "0"}).may_be_alive()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    stat = Path(f"/proc/{ended.pid}/stat")
    while stat.read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    started = stat.read_text().rpartition(")")[2].split()[19]
    assert not owner.Owner.of({"host": owner.host(), "pid": ended.pid, "started": started}).may_be_alive()
    ended.wait()
