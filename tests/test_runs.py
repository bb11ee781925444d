"""A run is a folder of stages, each done once; what is asked for, and who owns it, is never guessed."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import pytest
from test_pipeline import EPOCHS, finished

import divcon
from divcon.errors import DataError, InputError, OwnedError, StoppedError, UsageError, WaitingError
from divcon.files.integrity import digest, seal, write_json
from divcon.machine import Machine
from divcon.runs import owner, run
from divcon.runs.records import RunRecord
from divcon.runs.run import Run
from divcon.runs.stage import Result, StageContext, Summary


class Still(Machine):
    """A machine that nothing is set up on."""

    @contextlib.contextmanager
    def use(self) -> Iterator[None]:
        yield


@dataclass(frozen=True)
class Text:
    """An artifact."""

    text: str

    @property
    def fingerprint(self) -> str:
        return digest(self.text)

    def save(self, folder: Path) -> None:
        (folder / "text").write_text(self.text)

    @classmethod
    def load(cls, folder: Path) -> Self:
        return cls((folder / "text").read_text())


@dataclass(frozen=True)
class Recipe:
    word: str = "a"
    times: int = 1


@dataclass(frozen=True)
class Taught(Summary):
    teacher: str


def base(work: StageContext, recipe: Recipe) -> Result[Text]:
    return Result(Text(recipe.word * recipe.times))


def student(work: StageContext, teacher: Text, recipe: Recipe) -> Result[Text]:
    return Result(Text(teacher.text + recipe.word), Taught(teacher.text))


def fails(work: StageContext, recipe: Recipe) -> Result[Text]:
    (work.folder / "half").write_text("half")
    raise DataError("no good")


BOOK = RunRecord({}, {"base.word": "a"}, {}, "fingerprint", 3, ["base", "experts/0", "experts/1", "student"], "student")


def begun(folder: Path, **how: Any) -> Run:
    BOOK.write(folder)
    return Run(folder, Still(), folder / "cache", **how)


def whole(folder: Path, recipe: Recipe = Recipe(), **how: Any) -> Run:
    """Every stage of a small pipeline."""
    run = begun(folder, **how)
    first = run.stage("base", base, recipe)
    run.stages("experts", student, [(first, recipe), (first, replace(recipe, times=2))])
    run.stage("student", student, first, recipe)
    return run


def state(folder: Path, stage: str) -> dict[str, Any]:
    return divcon.status(folder).stages[stage].as_json()


def test_a_stage_is_done_once_and_then_read_back(tmp_path: Path) -> None:
    assert whole(tmp_path).did == ["base", "experts/0", "experts/1", "student"]
    before = {
        path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.name != "run.json" and path.is_file()
    }
    assert whole(tmp_path).did == []
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert begun(tmp_path).stage("base", base, Recipe()) == Text("a")


def test_the_marker_of_a_finished_stage_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = list[tuple[str, set[str]]]()

    def noting(path: Path, value: Any) -> None:
        written.append((path.name, {beside.name for beside in path.parent.glob("*")}))
        write_json(path, value)

    monkeypatch.setattr(run, "write_json", noting)
    whole(tmp_path / "run")
    last = [there for name, there in written if name == "stage.json"]
    assert len(last) == 4 and all("text" in there and "stage.json" not in there for there in last)
    assert {path.name for path in (tmp_path / "run" / "student").iterdir()} == {"text", "stage.json"}


@pytest.mark.parametrize(("before", "after"), [(Recipe(), Recipe("b")), (Recipe(), Recipe(times=2))])
def test_a_finished_stage_asked_for_differently_is_refused(tmp_path: Path, before: Recipe, after: Recipe) -> None:
    whole(tmp_path, before)
    with pytest.raises(
        UsageError, match=r"stage base in .* Use another folder \(out=\.\.\.\), or type: divcon redo .* base"
    ):
        whole(tmp_path, after)
    assert whole(tmp_path, before).did == []


def test_a_refusal_says_the_option_as_typed_with_its_old_and_new_value() -> None:
    old = replace(BOOK, typed={"clusters.k": 5}, options={"clusters.k": 5, "base.lr": 0.1, "epochs": 60.0})
    new = replace(BOOK, typed={"clusters.k": 10}, options={"clusters.k": 10, "base.lr": 0.1, "epochs": 60.0})
    assert old.changes(new) == ["clusters.k was 5, is 10"]
    assert old.changes(replace(old, options={**old.options, "base.lr": 0.2})) == ["base.lr was 0.1, is 0.2"]
    assert new.changes(new) == []
    assert new.changes(replace(new, typed={})) == [] and old.changes(replace(old, options={})) == [
        "clusters.k was 5, is none"
    ]


def test_an_expert_is_refused_before_another_is_done_differently(tmp_path: Path) -> None:
    run = begun(tmp_path)
    first = run.stage("base", base, Recipe())
    begun(tmp_path, only="experts/1").stage("experts/1", student, first, Recipe())
    with pytest.raises(UsageError):
        begun(tmp_path).stages("experts", student, [(first, Recipe("b")), (first, Recipe("b"))])
    assert not (tmp_path / "experts" / "0").exists()


def test_an_unfinished_stage_goes_on_and_if_it_is_changed_starts_over(tmp_path: Path) -> None:
    found = list[bool]()

    def fails_for_a(work: StageContext, recipe: Recipe) -> Result[Text]:
        found.append((work.folder / "half").exists())
        (work.folder / "half").write_text("half")
        if recipe.word == "a":
            raise DataError("no good")
        return Result(Text("done"))

    for recipe in (Recipe(), Recipe()):
        with pytest.raises(DataError):
            begun(tmp_path).stage("base", fails_for_a, recipe)
    begun(tmp_path).stage("base", fails_for_a, Recipe("b"))
    assert found == [False, True, False]


def test_what_a_killed_process_left_half_written_is_cleared_away(tmp_path: Path) -> None:
    left = {"metrics.jsonl.123.part", f"lock.{socket.gethostname()}.123"}

    def killed_once(work: StageContext, recipe: Recipe) -> Result[Text]:
        if (work.folder / "second").exists():
            return Result(Text("done"))
        for name in (*left, "second"):
            (work.folder / name).write_text("half")
        raise DataError("no good")

    with pytest.raises(DataError):
        begun(tmp_path).stage("base", killed_once, Recipe())
    begun(tmp_path).stage("base", killed_once, Recipe())
    assert {path.name for path in (tmp_path / "base").iterdir()} == {"second", "text", "stage.json"}


def test_redo_removes_a_stage_and_what_follows_and_no_sibling(tmp_path: Path) -> None:
    whole(tmp_path)
    assert divcon.redo(tmp_path, "experts/1").removed == ["experts/1", "student"]
    assert whole(tmp_path).did == ["experts/1", "student"]
    assert divcon.redo(tmp_path, "experts").removed == ["experts/0", "experts/1", "student"]
    assert divcon.redo(tmp_path, "base").removed == ["base"]
    with pytest.raises(UsageError, match="bsae"):
        divcon.redo(tmp_path, "bsae")


def test_redo_leaves_alone_what_a_process_is_working_on(tmp_path: Path) -> None:
    whole(tmp_path)
    with owner.owned(tmp_path / "student"), pytest.raises(OwnedError, match=str(os.getpid())):
        divcon.redo(tmp_path, "base")
    assert (tmp_path / "base" / "text").exists()


def test_only_the_named_stage_is_done(tmp_path: Path) -> None:
    with pytest.raises(WaitingError, match="base is not done yet"):
        whole(tmp_path, only="student")
    for only in ("base", "experts/1", "experts/0"):
        with pytest.raises(WaitingError):
            whole(tmp_path, only=only)
        assert (tmp_path / only / "stage.json").exists()
    assert whole(tmp_path, only="student").did == ["student"]


def test_a_stage_has_one_owner(tmp_path: Path) -> None:
    def enters_twice(work: StageContext, recipe: Recipe) -> Result[Text]:
        with pytest.raises(OwnedError, match=f"process {os.getpid()}.*--steal-lock") as error:
            begun(tmp_path).stage("base", enters_twice, recipe)
        assert error.value.code == 73
        return Result(Text("once"))

    assert begun(tmp_path).stage("base", enters_twice, Recipe()) == Text("once")
    assert not (tmp_path / "base" / "lock").exists()


def lock(folder: Path, **holder: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lock").write_text(seal(json.dumps(asdict(owner.this_process()) | holder)))
    return folder


def gone() -> int:
    """The number of a process that has ended."""
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


def test_the_lock_of_a_process_that_is_gone_is_taken_over(tmp_path: Path) -> None:
    lock(tmp_path / "base", pid=gone())
    assert whole(tmp_path).did[0] == "base"


def test_a_process_that_got_the_number_of_the_owner_is_not_taken_for_it(tmp_path: Path) -> None:
    lock(tmp_path / "base", started="1")
    assert whole(tmp_path).did[0] == "base"


def test_a_lock_from_before_this_host_was_started_is_taken_over(tmp_path: Path) -> None:
    lock(tmp_path / "base", host=f"{socket.gethostname()} 00000000")
    assert whole(tmp_path).did[0] == "base"


def test_a_host_frees_the_locks_of_its_own_dead_processes_and_no_others(tmp_path: Path) -> None:
    dead = [lock(tmp_path / name, pid=gone()) for name in ("", "base", "experts/0")]
    others = [lock(tmp_path / "student"), lock(tmp_path / "experts/1", host="elsewhere 12345678", pid=gone())]
    owner.free_dead(tmp_path)
    owner.free_dead(tmp_path / "not there")
    assert not any((folder / "lock").exists() for folder in dead)
    assert all((folder / "lock").exists() for folder in others)


@pytest.mark.parametrize(
    "content",
    [None, "", "{", "[]", "{}", seal('{"a": ' + "[" * 100_000), seal('{"pid": "x"}'), '{"host": "here", "pid": 1}'],
)
def test_a_lock_that_can_not_be_judged_is_refused_unless_it_is_stolen(tmp_path: Path, content: str | None) -> None:
    lock(tmp_path / "base", host="elsewhere 12345678", pid=1)
    if content is not None:
        (tmp_path / "base" / "lock").write_text(content)
    with pytest.raises(OwnedError, match="--steal-lock"):
        whole(tmp_path)
    assert whole(tmp_path, steal_lock=True).did[0] == "base"


def test_a_lock_that_was_stolen_is_not_removed_by_its_first_owner(tmp_path: Path) -> None:
    other = seal(json.dumps(asdict(owner.this_process()) | {"pid": 1, "host": "elsewhere"}))
    with owner.owned(tmp_path):
        (tmp_path / "lock").write_text(other)
    assert (tmp_path / "lock").read_text() == other


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    (tmp_path / "file").write_text("precious")
    for name in ("out", "file"):
        with pytest.raises(OwnedError, match=name) as error:
            divcon.run(tmp_path / "photos", out=tmp_path / name)
        assert error.value.code == 73
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_a_run_does_not_lie_among_its_images(tmp_path: Path) -> None:
    for out in ("photos", "photos/runs/a"):
        with pytest.raises(UsageError, match="inside the collection"):
            divcon.run(tmp_path / "photos", out=tmp_path / out)


def test_what_is_no_run_has_no_status(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no run\.json"):
        divcon.status(tmp_path)


FIELDS = {"state", "progress", "eta", "seconds", "images_seen", "images_per_second", "data_wait", "peak_rss_mb"}


def test_a_stage_is_waiting_then_running_then_done(tmp_path: Path) -> None:
    seen = list[str]()

    def looks(work: StageContext, recipe: Recipe) -> Result[Text]:
        seen.extend(state(tmp_path, stage)["state"] for stage in ("base", "student"))
        time.sleep(0.02)
        return Result(Text("done"))

    BOOK.write(tmp_path)
    assert state(tmp_path, "base")["state"] == "waiting"
    begun(tmp_path).stage("base", looks, Recipe())
    done = state(tmp_path, "base")
    assert seen == ["running", "waiting"] and done["state"] == "done" and done["progress"] == 1.0
    assert 0.02 <= done["seconds"] < 10 and done["eta"] == 0
    assert set(done) >= FIELDS and set(state(tmp_path, "student")) >= FIELDS


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_runs import Recipe, Result, Text, begun
def killed(work, recipe) -> Result[Text]:
    os.kill(os.getpid(), 9)
begun(Path(sys.argv[1])).stage("base", killed, Recipe())
"""


def test_a_stage_whose_process_was_killed_is_interrupted(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parent)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "base" / "lock").exists()
    interrupted = state(tmp_path, "base")
    assert interrupted["state"] == "interrupted" and set(interrupted) >= FIELDS


def test_a_stage_that_stopped_says_why(tmp_path: Path) -> None:
    def stops(work: StageContext, recipe: Recipe) -> Result[Text]:
        raise StoppedError("stopped by SIGTERM")

    for do, word, why in (
        (fails, "failed", "DataError: no good"),
        (stops, "interrupted", "StoppedError: stopped by SIGTERM"),
    ):
        with pytest.raises((DataError, StoppedError)):
            begun(tmp_path).stage("base", do, Recipe())
        account = state(tmp_path, "base")
        assert (account["state"], account["why"]) == (word, why) and set(account) >= FIELDS


def test_seconds_of_an_interrupted_stage_are_counted_on(tmp_path: Path) -> None:
    def slow(work: StageContext, recipe: Recipe) -> Result[Text]:
        time.sleep(0.05)
        if not (work.folder / "second").exists():
            (work.folder / "second").write_text("")
            raise StoppedError("stopped")
        return Result(Text("done"))

    with pytest.raises(StoppedError):
        begun(tmp_path).stage("base", slow, Recipe())
    begun(tmp_path).stage("base", slow, Recipe())
    assert state(tmp_path, "base")["seconds"] >= 0.1


def test_every_trained_stage_says_what_it_saw_and_how_fast(photos: Path) -> None:
    account = divcon.status(finished(photos))
    stages = account.stages
    assert account.images == 160
    assert list(stages) == ["base", "clusters", "experts/0", "experts/1", "checks", "student"]
    for name in ("base", "experts/0", "experts/1", "student"):
        assert stages[name].images_per_second > 0 and 0 <= stages[name].data_wait <= 1
        assert stages[name].peak_rss_mb > 50 and stages[name].seconds > 0
    seen = sum(stage.images_seen or 0 for stage in stages.values())
    assert abs(seen - EPOCHS * 160) <= 4 * 16  # epochs times images, to a batch a stage


def test_a_flipped_byte_in_any_stage_is_found_and_named(photos: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished(photos), tmp_path / "run")
    assert divcon.status(run, verify=True).damaged == []
    results = [
        run / json_file.parent / name
        for json_file in run.rglob("stage.json")
        for name in json.loads(json_file.read_text())["sha256"]
    ]
    assert len(results) >= 6
    for path in results:
        good = path.read_bytes()
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        (damage,) = divcon.status(run, verify=True).damaged
        assert str(path) in damage and "expected sha256" in damage
        path.write_bytes(good)
    results[0].unlink()
    assert "no file" in divcon.status(run, verify=True).damaged[0]


def test_a_base_is_taken_from_another_run(photos: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    base = finished(photos) / "base"
    ran = divcon.run(photos, out=tmp_path / "taken", base=str(base), epochs=1, **tiny)
    assert ran.done and ran.did[0] == "base"
    for name in ("encoder.safetensors", "encoder.json"):
        assert (ran.folder / "base" / name).read_bytes() == (base / name).read_bytes()
    assert json.loads((ran.folder / "base" / "stage.json").read_text())["summary"]["taken_from"] == str(base)
    alone = {key: value for key, value in tiny.items() if not key.startswith("clusters.")}
    divcon.run(photos, out=tmp_path / "other", recipe="moclr", epochs=0.1, **alone)
    with pytest.raises(UsageError, match=r"base was .* is .*other"):
        divcon.run(photos, out=tmp_path / "taken", base=str(tmp_path / "other"), epochs=1, **tiny)


def test_a_damaged_base_is_not_taken(photos: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    base = shutil.copytree(finished(photos) / "base", tmp_path / "base")
    weights = (base / "encoder.safetensors").read_bytes()
    (base / "encoder.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(DataError, match="damaged"):
        divcon.run(photos, out=tmp_path / "out", base=str(base), epochs=1, **tiny)
    assert not (tmp_path / "out" / "base" / "stage.json").exists()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("clusters.k", 3, "clusters.k was 2, is 3"), ("epochs", 7, "epochs was 4, is 7"), ("seed", 1, "seed was 0, is 1"),
        ("precision", "bf16", "precision was fp32, is bf16"), ("limit", 100, "limit was none, is 100"),
        ("recipe", "moclr", "recipe was dnc, is moclr"), ("student.base_share", 0.75, "student.base_share was 0.25, is 0.75"),
    ],
)  # fmt: skip
def test_a_changed_option_of_a_finished_run_is_refused_with_both_values(
    photos: Path, tiny: dict[str, Any], key: str, value: object, said: str
) -> None:
    run = finished(photos)
    options = {"epochs": EPOCHS, **tiny, key: value}
    if key == "recipe":  # of a pipeline that has no clusters
        options = {name: value for name, value in options.items() if "." not in name}
    with pytest.raises(UsageError) as error:
        divcon.run(photos, out=run, **options)
    words = str(error.value)
    assert said in words and "Use another folder (out=...)" in words and f"divcon redo {run}" in words


def test_what_was_accepted_for_an_unfinished_stage_is_what_the_run_remembers(
    photos: Path, tmp_path: Path, tiny: dict[str, Any]
) -> None:
    run = shutil.copytree(finished(photos), tmp_path / "run")
    divcon.redo(run, "student")
    divcon.run(photos, out=run, epochs=EPOCHS, **{"student.lr": 0.5}, **tiny)
    with pytest.raises(UsageError, match=r"clusters\.k was 2, is 3\. "):
        divcon.run(photos, out=run, epochs=EPOCHS, **{"student.lr": 0.5}, **{**tiny, "clusters.k": 3})
