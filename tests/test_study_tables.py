"""Rows that can be trusted, tables that compare only what can be compared, and the company that a run had."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from divcon.config import to_json_value
from divcon.files.integrity import read_json, write_json
from studies.instrument import draw, watch
from studies.instrument.rows import Row, Rows, keep
from studies.instrument.table import Run, Study

MOCLR, DNC = "moclr", "dnc"


@pytest.fixture
def study() -> Study:
    moclr = Run(table="A", line=MOCLR, data="made", recipe=MOCLR, seed=0, options={"epochs": 1})
    return Study("tiny", "", [moclr, replace(moclr, line=DNC, recipe=DNC, against=MOCLR)])


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
    assert [to_json_value(row) for row in Rows.read(folder).rows] == [
        to_json_value(row_of(run)) for run in reversed(study.runs)
    ]
    spoil(first)
    rows = Rows.read(folder)
    assert [row.file() for row in rows.rows] == [second.name] and len(rows.wrong) == 1


def test_rows_of_two_machines_never_have_the_same_file(study: Study) -> None:
    row = row_of(study.runs[0])
    others = [replace(row, place="ef01"), replace(row, code="other"), replace(row, part="test"), row_of(study.runs[1])]
    assert len({one.file() for one in [row, *others]}) == 5


def test_a_row_of_another_code_or_processor_or_question_is_no_reason_not_to_do_a_run(study: Study) -> None:
    run = study.runs[0]
    rows = Rows([row_of(run)], [])
    assert rows.has(run, "validation", "c0de", "cpu-1")
    assert not rows.has(run, "validation", "c0de", "cpu-2") and not rows.has(run, "validation", "other", "cpu-1")
    assert not rows.has(run, "test", "c0de", "cpu-1")
    assert not rows.has(replace(run, options={"epochs": 3}), "validation", "c0de", "cpu-1")


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
