"""Studies: runs that go on after a kill, rows that can be trusted, tables that compare only what can be compared."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import SERVER

from divcon import locks
from divcon.artifacts import read_json, write_json
from divcon.config import described
from divcon.errors import UsageError
from studies.instrument import draw, here, job, one, runner, table, watch
from studies.instrument.rows import Row, Rows, keep
from studies.instrument.table import UNTRAINED, Run, Study

MOCLR, DNC = "moclr", "dnc"


@pytest.fixture
def place(photos: Path, cache: Path, tmp_path: Path) -> job.Place:
    """Where the collection named "made" is the photos of all tests."""
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
    """The run in a process that dies at a place of divcon/faults.py."""
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
    with locks.owned(here.folder(place.runs) / study.name / run.name):
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


def test_a_row_of_another_code_or_processor_or_question_is_no_reason_not_to_do_a_run(study: Study) -> None:
    run = study.runs[0]
    rows = Rows([row_of(run)], [])
    assert rows.has(run, "validation", "c0de", "cpu-1")
    assert not rows.has(run, "validation", "c0de", "cpu-2") and not rows.has(run, "validation", "other", "cpu-1")
    assert not rows.has(run, "test", "c0de", "cpu-1")
    assert not rows.has(replace(run, options={"epochs": 3}), "validation", "c0de", "cpu-1")


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
    own: list[str], here_and_now: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for left in (2, 0):
        with pytest.raises(SystemExit) as end:
            runner.main([*own, "jobs=1"])
        assert not end.value.code and f"own: {left} of 2 runs to do" in capsys.readouterr().out
    runner.main([own[0], "draw", *own[1:]])
    page = (tmp_path / "page.md").read_text()
    assert "Nothing is trained in it." in page and "## A: validation images" in page and " 2 | 0 |" in page


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


# rows


def row_of(
    run: Run, knn: float = 0.5, *, processor: str = "cpu-1", code: str = "c0de", taken: str = watch.ALONE, seconds: float = 100, dirty: bool = False
) -> Row:  # fmt: skip
    scores = {"final": {"shrinkage": 0.1, "parts": {"kind": {score: {"top1": knn} for score in draw.SCORES}}}}
    return Row(
        study="tiny", run=run.name, part="validation", asked=run.asked, collection={"images": 160}, shown={"all": 320},
        seconds={"all": seconds}, shared={}, beside={"taken": taken}, arithmetic={"precision": "fp32", "channels_last": True},
        processor={"id": processor, "flags": ["avx2"]}, place="abcd", code=code, commit={"commit": "123", "dirty": dirty},
        versions={"torch": "2"}, date="2026-01-01", scores=scores,
    )  # fmt: skip


def seeds(run: Run, n: int = 3) -> list[Run]:
    return [replace(run, seed=seed) for seed in range(n)]


def _torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _typed_by_hand(path: Path) -> None:
    path.write_text(path.read_text().replace("0.5", "0.9"))


def _renamed(path: Path) -> None:
    path.rename(path.with_name(f"better-{path.name}"))


def _of_another_program(path: Path) -> None:
    path.write_text("[1, 2]")


def _of_another_study(path: Path) -> None:
    write_json(path, {**read_json(path), "study": "other"})


def _without_scores(path: Path) -> None:
    write_json(path, {key: value for key, value in read_json(path).items() if key != "scores"})


@pytest.mark.parametrize(
    "spoil", [_torn, _typed_by_hand, _renamed, _of_another_program, _of_another_study, _without_scores]
)
def test_a_row_that_is_not_as_it_was_written_counts_for_nothing_and_loses_no_other(
    spoil: Callable[[Path], None], study: Study, tmp_path: Path
) -> None:
    folder = tmp_path / "tiny"
    first, second = (keep(folder, row_of(run)) for run in study.runs)
    assert [described(row) for row in Rows.read(folder).rows] == [
        described(row_of(run)) for run in reversed(study.runs)
    ]
    spoil(first)
    rows = Rows.read(folder)
    assert [row.file() for row in rows.rows] == [second.name] and len(rows.wrong) == 1


def test_rows_of_two_machines_never_have_the_same_file(study: Study) -> None:
    row = row_of(study.runs[0])
    others = [replace(row, place="ef01"), replace(row, code="other"), replace(row, part="test"), row_of(study.runs[1])]
    assert len({one.file() for one in [row, *others]}) == 5


# tables


def drawn(study: Study, rows: list[Row]) -> str:
    runs = [run for line in study.runs for run in seeds(line)]
    return draw.page(replace(study, runs=runs), rows)


def line_of(page: str, name: str) -> list[str]:
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {name} ")]
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_differences_are_taken_seed_by_seed(study: Study) -> None:
    moclr, dnc = study.runs
    rows = [row_of(run, 0.60 + 0.05 * run.seed) for run in seeds(moclr)]
    rows += [row_of(run, 0.60 + 0.05 * run.seed + more) for run, more in zip(seeds(dnc), (0.01, 0.02, 0.03))]
    page = drawn(study, rows)
    assert line_of(page, MOCLR)[2] == "65.0 ± 5.0" and line_of(page, MOCLR)[5] == ""
    less = np.array([1, 2, 3])
    assert line_of(page, DNC)[5] == f"+2.0 ± {less.std(ddof=1) / np.sqrt(3):.1f} (3)" == "+2.0 ± 0.6 (3)"
    assert line_of(page, DNC)[8:] == [MOCLR, "3", "320", "100"]


@pytest.mark.parametrize("other", [{"processor": "cpu-2"}, {"code": "other"}])
def test_a_difference_is_never_taken_between_machines_or_codes(other: dict[str, Any], study: Study) -> None:
    moclr, dnc = study.runs
    rows = [row_of(run, 0.6) for run in seeds(moclr)] + [row_of(run, 0.9, **other) for run in seeds(dnc)]
    assert line_of(drawn(study, rows), DNC)[2] == "90.0 ± 0.0" and line_of(drawn(study, rows), DNC)[5] == ""
    rows.append(row_of(seeds(moclr)[1], 0.8, **other))
    assert line_of(drawn(study, rows), DNC)[5] == "+10.0 (1)"


def test_other_arithmetic_or_other_images_make_no_pair(study: Study) -> None:
    moclr, dnc = study.runs
    for other in ({"arithmetic": {"precision": "bf16", "channels_last": True}}, {"collection": {"images": 159}}):
        assert line_of(drawn(study, [row_of(moclr), replace(row_of(dnc), **other)]), DNC)[5] == ""
    assert line_of(drawn(study, [row_of(moclr), row_of(dnc)]), DNC)[5] == "+0.0 (1)"


@pytest.mark.parametrize("taken", [watch.BESIDE_US, watch.BESIDE_OTHERS, watch.UNKNOWN])
def test_seconds_that_were_not_taken_alone_are_not_drawn(taken: str, study: Study) -> None:
    page = drawn(study, [row_of(run, taken=taken, seconds=4321) for run in seeds(study.runs[0])])
    assert (
        "4,321" not in page
        and line_of(page, MOCLR)[-1] == "- [1]"
        and f"1. No seconds: these runs were not taken alone (3 {taken})" in page
    )
    one_alone = [
        row_of(run, taken=taken if run.seed else watch.ALONE, seconds=4321 + run.seed) for run in seeds(study.runs[0])
    ]
    assert line_of(drawn(study, one_alone), MOCLR)[-1] == "4,321 (1 of 3)"


def test_rows_of_a_dirty_tree_are_marked(study: Study) -> None:
    page = drawn(study, [row_of(study.runs[0], dirty=True)])
    assert (
        f"| {MOCLR} [1] |" in page and "1. Some rows are of a tree with changes" in page and "123 with changes" in page
    )


def test_a_page_says_which_rows_it_has_no_use_for(study: Study) -> None:
    other = replace(study.runs[0], options={"epochs": 99})
    assert "from 1 rows (1 more are of runs that the study no longer asks for)" in drawn(
        study, [row_of(study.runs[0], 0.5), row_of(other, 0.9)]
    )
    assert "90.0" not in drawn(study, [row_of(other, 0.9)])


# how idle the machine is


def test_cpu_time_is_told_apart_by_whose_it_is() -> None:
    before = watch.Look(0.0, 100.0, {1: ("a", 5.0), 2: ("b", 7.0)})
    after = watch.Look(10.0, 119.0, {1: ("a", 13.0), 2: ("b", 9.0), 3: ("a", 1.0), 4: ("b", 3.0)})
    assert after.since(before, "a") == watch.Tally(wall=10.0, ours=9.0, study=5.0, others=5.0)


@pytest.mark.parametrize(
    ("tally", "taken"),
    [
        (watch.Tally(100, 99, 0.5, 2), watch.ALONE), (watch.Tally(100, 99, 80, 2), watch.BESIDE_US),
        (watch.Tally(100, 50, 80, 40), watch.BESIDE_OTHERS), (watch.Tally(50, 49, 0, 0), watch.UNKNOWN), (watch.Tally(), watch.UNKNOWN),
    ],
)  # fmt: skip
def test_a_run_is_alone_only_where_nothing_ran_beside_it_and_all_of_it_was_watched(
    tally: watch.Tally, taken: str
) -> None:
    assert tally.taken(100) == taken


def test_the_worst_company_of_a_base_and_its_experts_is_that_of_the_row() -> None:
    parts = [(watch.Account(watch.Tally(10, 10, 0, 0)), 10.0), (watch.Account(watch.Tally(10, 10, 5, 0)), 10.0)]
    assert watch.parts(parts[:1])["taken"] == watch.ALONE and watch.parts(parts)["taken"] == watch.BESIDE_US


@pytest.fixture
def another_run() -> Iterator[int]:
    """A process of another run of a study."""
    command = [sys.executable, "-c", "input()"]
    process = subprocess.Popen(command, env={**os.environ, watch.MARK: "another"}, stdin=subprocess.PIPE)
    yield process.pid
    process.communicate()


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="only Linux tells of other processes")
def test_processes_of_other_runs_are_known_by_their_mark(another_run: int) -> None:
    seen = None
    while seen is None or another_run not in seen.processes:  # until it has become another program
        seen = watch.look("mine")
    assert seen.processes[another_run][0] == "another" and seen.processes[os.getpid()][0] == "mine"


def test_an_account_grows_over_processes_that_follow_one_another(tmp_path: Path) -> None:
    path = tmp_path / "beside.json"
    for first_for, dirty in (("a", False), ("b", True), ("c", False)):
        with watch.watched(path, watch.Account(dirty=dirty, first_for=first_for)):
            pass
    assert watch.Account.read(path).first_for == "a" and watch.Account.read(path).dirty
