"""Studies: runs that go on after a kill, rows that can be trusted, tables that compare only what can be compared."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from processes import SERVER

from divcon.errors import UsageError
from divcon.runs import owner
from studies.instrument import here, job, one, runner, table
from studies.instrument.rows import Row, Rows
from studies.instrument.table import UNTRAINED, Run, Study

MOCLR, DNC = "moclr", "dnc"


@pytest.fixture
def place(photos: Path, cache: Path, tmp_path: Path) -> job.Place:
    """Folders of a study; its collection named "made" is the photos of all tests."""
    folder = cache / "studies" / "made" / "images"
    if not folder.is_dir():
        shutil.copytree(photos, folder)
    return job.Place(tmp_path / "runs", tmp_path / "rows" / "tiny", cache, "validation")


@pytest.fixture
def study(tiny: dict[str, Any]) -> Study:
    """MoCLR, and DnC at twice its budget: half of that goes to the same base."""
    alone = {name: value for name, value in tiny.items() if not name.startswith("clusters.")}
    runs = [
        Run(table="A", line=MOCLR, data="made", recipe=MOCLR, seed=0, options={**alone, "epochs": 1}),
        Run(table="A", line=DNC, data="made", recipe=DNC, seed=0, options={**tiny, "epochs": 2}, against=MOCLR),
    ]
    return Study("tiny", "", runs)


def kill_at(fault: str, study: Study, run: Run, place: job.Place) -> None:
    """The run in a process that dies at a place of divcon/failpoints.py."""
    process = SERVER.Process(target=_done_with, args=(fault, study, run, place))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL


def _done_with(fault: str, study: Study, run: Run, place: job.Place) -> None:
    os.environ["DIVCON_FAULT"] = fault
    job.do(study, run, place)


def rows_of(place: job.Place) -> dict[str, Row]:
    rows = Rows.read(place.rows)
    assert not rows.wrong
    return {row.asked["recipe"]: row for row in rows.rows}


# runs


def test_a_study_goes_on_after_kills_with_the_same_rows_and_a_shared_base_is_trained_once(
    study: Study, place: job.Place, tmp_path: Path
) -> None:
    moclr, dnc = study.runs
    kill_at("train.logged:3", study, moclr, place)
    assert job.do(study, moclr, place) is not None
    (base,) = (here.folder(place.runs) / "bases").iterdir()
    before = (base / "run/base/stage.json").stat().st_mtime_ns
    kill_at("divide.fitted", study, dnc, place)
    assert job.do(study, dnc, place) is not None and job.do(study, dnc, place) is None
    assert [base] == [*(here.folder(place.runs) / "bases").iterdir()]
    assert (base / "run/base/stage.json").stat().st_mtime_ns == before

    unbroken = replace(place, runs=tmp_path / "other-runs", rows=tmp_path / "other" / "tiny")
    for run in reversed(study.runs):  # the base is another run's first
        job.do(study, run, unbroken)
    broken, whole = rows_of(place), rows_of(unbroken)
    for name in (MOCLR, DNC):
        assert broken[name].scores == whole[name].scores and broken[name].shown == whole[name].shown
        assert broken[name].group == whole[name].group
    assert broken[MOCLR].shared["base"] == broken[DNC].shared["base"]
    assert broken[DNC].shared["first_for"] == moclr.name and whole[DNC].shared["first_for"] == dnc.name
    assert broken[MOCLR].scores["final"] == broken[DNC].scores["base"]


def test_a_row_counts_the_shared_base_to_its_budget(study: Study, place: job.Place) -> None:
    job.do(study, study.runs[1], place)
    row = rows_of(place)[DNC]
    assert row.shown["base"] == row.shared["images"] == 160 and row.shown["all"] == pytest.approx(320, abs=24)
    assert row.shown["all"] == sum(images for stage, images in row.shown.items() if stage != "all")
    assert row.seconds["base"] == row.shared["seconds"] > 0


def test_a_base_that_is_named_by_hand_counts_too(study: Study, place: job.Place) -> None:
    moclr, dnc = study.runs
    job.do(study, moclr, place)
    (base,) = (here.folder(place.runs) / "bases").glob("*/run")
    job.do(study, replace(dnc, options={**dnc.options, "base": str(base), "epochs": 4}), place)
    assert rows_of(place)[DNC].shown["base"] == 160 and rows_of(place)[DNC].shown["all"] == pytest.approx(480, abs=24)
    copied = next(here.folder(place.runs).glob(f"tiny/{moclr.name}/run"))
    with pytest.raises(UsageError, match="was not trained there"):
        job.do(study, replace(dnc, options={**dnc.options, "base": str(copied)}), place)


def test_what_another_process_does_is_left_to_it(study: Study, place: job.Place) -> None:
    run = replace(study.runs[0], recipe=UNTRAINED)
    with owner.owned(here.folder(place.runs) / study.name / run.name):
        assert job.ended(study, run, place) == table.BUSY
    assert not Rows.read(place.rows).rows


def test_the_test_part_is_scored_only_where_it_is_asked_for_and_with_nothing_trained_again(
    study: Study, place: job.Place
) -> None:
    run = study.runs[0]
    for part in ("validation", "test"):
        job.do(study, run, replace(place, part=part))
    validation, test = sorted(Rows.read(place.rows).rows, key=lambda row: row.part, reverse=True)
    assert (validation.part, test.part) == ("validation", "test")
    assert validation.seconds == test.seconds and validation.scores != test.scores


# the runner


def test_busy_runs_come_again_and_failed_ones_keep_no_other_from_being_done(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "PAUSE", 0)
    codes = {MOCLR: iter([table.BUSY, table.BUSY, 0]), DNC: iter([64])}
    order: list[str] = []

    def do(run: Run) -> int:
        order.append(run.line)
        return next(codes[run.line])

    failed = runner.done_of(study.runs, 1, do)
    assert order == [MOCLR, DNC, MOCLR, MOCLR]
    assert [run.line for run in failed] == [DNC] and not [*codes[MOCLR]]


STUDY = '''"""Nothing is trained in it."""
from studies.instrument.table import Run
def runs():
    return [Run(table="A", line="untrained", data="made", recipe="untrained", seed=s, options={"encoder": "slim10_w8", "size": 16}) for s in (0, 1)]
'''


@pytest.fixture
def own(place: job.Place, tmp_path: Path) -> list[str]:
    """A study in a file of one's own, and where it is done."""
    (tmp_path / "own.py").write_text(STUDY)
    places = [f"runs={place.runs}", f"rows={place.rows.parent}", f"cache={place.cache}", f"page={tmp_path / 'page.md'}"]
    return [str(tmp_path / "own.py"), *places]


@pytest.fixture
def here_and_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process of the runner is done in this one."""

    def in_here(children: runner.Children, command: list[str], run: Run) -> int:
        with pytest.raises(SystemExit) as end:
            one.main(command[3:])
        return int(end.value.code or 0)

    monkeypatch.setattr(os, "nice", lambda more: 0)
    monkeypatch.setattr(runner.Children, "code_of", in_here)


def test_a_study_of_ones_own_is_done_drawn_and_not_done_again(
    own: list[str],
    here_and_now: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(here, "commit", lambda: {"commit": "abc", "dirty": True})
    for left in (2, 0):
        with pytest.raises(SystemExit) as end:
            runner.main([*own, "jobs=1"])
        said = capsys.readouterr().out
        assert not end.value.code and f"own: {left} of 2 runs to do" in said and "rows will be marked" in said
    runner.main([own[0], "draw", *own[1:]])
    page = (tmp_path / "page.md").read_text()
    assert "Nothing is trained in it." in page and "## A: validation images" in page and " 2 | 0 |" in page
    assert "abc with changes" in page


def test_other_options_make_other_runs(own: list[str], here_and_now: None, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        runner.main([*own, "jobs=1", "only=*s0*", "limit=64"])
    (row,) = Rows.read(tmp_path / "rows" / "own").rows
    assert row.collection["images"] == 64 and row.asked["options"]["limit"] == 64
    runner.main([own[0], "draw", *own[1:]])
    assert "No run is done yet" in (tmp_path / "page.md").read_text()
    with pytest.raises(SystemExit, match="page=FILE"):
        runner.main([own[0], "draw", *own[1:-1], "limit=64"])


@pytest.mark.parametrize("words", [["wher"], ["where", "part=tset"], ["where", "jobs=0"], ["where", "only=nothing*"]])
def test_a_typo_ends_the_runner_with_a_word(words: list[str]) -> None:
    with pytest.raises(SystemExit, match=r"where|part|jobs|only"):
        runner.main(words)


@pytest.mark.parametrize(("word", "said"), [("job=1", "did you mean 'jobs'"), ("epochs=many", "epochs=many: input")])
def test_an_option_that_no_run_has_is_refused_before_any_run_begins(
    word: str, said: str, own: list[str], here_and_now: None
) -> None:
    with pytest.raises(SystemExit, match=said):
        runner.main([*own, word])


@pytest.mark.slow
def test_two_runners_do_each_run_once(own: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "studies", *own, "jobs=2"]
    both = [subprocess.Popen(command, cwd=here.ROOT, stdout=subprocess.PIPE) for _ in range(2)]
    for process in both:
        process.communicate(timeout=280)
    assert [process.returncode for process in both] == [0, 0]
    assert len(Rows.read(tmp_path / "rows" / "own").rows) == 2


# the studies that there are


@pytest.mark.parametrize("name", table.names())
def test_every_line_is_compared_with_one_that_is_there_for_the_same_seeds(name: str) -> None:
    runs = table.load(name).runs
    there = {(run.table, run.line, run.seed) for run in runs}
    assert all((run.table, run.against, run.seed) in there for run in runs if run.against)
    assert len({run.name for run in runs}) == len(runs) and table.about(name).endswith(".")


def test_cheap_runs_come_first() -> None:
    budgets = [run.options.get("epochs", 0) for run in table.load("where").runs]
    assert budgets == sorted(budgets) and budgets[-1] == 120


def test_a_run_that_stands_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "twice.py").write_text(STUDY.replace("(0, 1)", "(0, 0)"))
    with pytest.raises(UsageError, match="twice"):
        table.load(str(tmp_path / "twice.py"))
