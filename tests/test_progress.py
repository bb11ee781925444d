"""The progress of a run, as a terminal, a log file and a Python program see it."""

import io
import json
import os
import random
import re
import select
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY
from processes import SERVER
from rich.console import Console
from test_pipeline import command, finished, typed

import divcon
from divcon import log
from divcon.api.report import STEPS
from divcon.api.report_pictures import thumbnails_and_measures
from divcon.api.work import ENCODED
from divcon.cli.progress import VARIABLE, ProgressBar, ProgressLines, bar_of, bar_texts, duration, progress_line
from divcon.data.images import open_images
from divcon.log import Progress, RunProgress
from divcon.runs.pace import Pace, Work

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
COLOR = re.compile(r"\x1b\[[0-9;]*m")
STEP = Progress(
    "experts/2", 1200, 4000, "steps", "", 512.4, 0.031, 4.2131, RunProgress("experts/2", 5, 9, 0.47, 4325.0)
)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


# A log file


def test_a_stage_that_takes_long_gets_a_line_every_interval() -> None:
    clock, lines = Clock(), list[str]()
    watch = ProgressLines(lines.append, 30.0, clock)
    for second in range(1, 541):  # nine minutes of one stage
        clock.now += 1
        watch(replace(STEP, done=second))
    assert len(lines) == 540 / 30
    assert lines[0].startswith("experts/2 (5 of 9): step 30 of 4,000, 512 images/s, 3% waiting for data, loss 4.213")
    assert lines[0].endswith("about 1 h 12 min left in all")


def test_a_quick_command_writes_no_line() -> None:
    clock, lines = Clock(), list[str]()
    watch = ProgressLines(lines.append, 30.0, clock)
    for done in range(20_000):
        clock.now += 0.001
        watch(Progress("scan", done, 20_000))
    assert lines == []


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        (Progress("scan", 4096, 6900), "scan: 4,096 of 6,900 images"),
        (
            replace(STEP, what="k-means", unit="rounds", done=3, total=90, images_per_second=None, loss=None),
            "experts/2 (5 of 9): k-means 3 of 90 rounds, about 1 h 12 min left in all",
        ),
        (replace(STEP, what="\x1b[2J", run=None), "\\x1b[2J: step 1,200 of 4,000"),
    ],
)
def test_a_line_says_the_work_and_nothing_that_acts_on_a_terminal(progress: Progress, line: str) -> None:
    assert progress_line(progress).startswith(line)
    assert progress_line(progress).isprintable()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (3599, "1 h 0 min"), (4325, "1 h 12 min"), (180_000, "2 days 2 h")],
)
def test_a_duration_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


# A terminal


def drawn(progress: Progress, width: int, encoding: str = "utf-8", **console: bool) -> str:
    """Return the bar as a terminal of this width and encoding gets it."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    Console(file=file, width=width, force_terminal=True, **console).print(bar_of(progress, width))
    file.flush()
    return raw.getvalue().decode(encoding)


def test_the_bar_at_80_columns_has_stage_speed_waiting_and_time_left() -> None:
    text = ESCAPE.sub("", drawn(STEP, 80)).rstrip()
    assert text.startswith("experts/2 (5 of 9)  ━") and len(text) < 80
    assert text.endswith("47%  1:12:05 left  512 images/s  3% waiting")


def test_the_bar_at_40_columns_keeps_stage_and_time_left() -> None:
    assert ESCAPE.sub("", drawn(STEP, 40)).rstrip() == "experts/2 (5 of 9)   47%  1:12:05 left"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "iso-8859-1"])
def test_the_bar_is_one_line_at_any_width_and_encoding(encoding: str) -> None:
    draw = random.Random(0)
    for _ in range(200):
        run = RunProgress("experts/123456", draw.randrange(1, 9), 9999, draw.random(), draw.choice([None, 3e6]))
        what = draw.choice(["experts/123456", "encoding", "checking pixels", "\x1b[2J\n"])
        some = replace(STEP, what=what, images_per_second=draw.choice([None, 1e6]), run=draw.choice([run, None]))
        width = draw.randrange(10, 200)
        text = ESCAPE.sub("", drawn(some, width, encoding))
        assert text.count("\n") == 1 and len(text.rstrip("\n")) <= width
        assert text.rstrip("\n").isprintable()


def test_no_color_is_sent_where_none_is_wanted() -> None:
    assert COLOR.search(drawn(STEP, 80))
    assert not COLOR.search(drawn(STEP, 80, no_color=True))


def test_the_bar_is_drawn_a_few_times_a_second_however_fast_steps_are(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, shown = Clock(), list[int]()
    bar = ProgressBar(clock)
    monkeypatch.setattr(ProgressBar, "_show", lambda self: shown.append(self.progress.done))
    monkeypatch.setattr(bar, "live", object())
    for step in range(10_000):
        clock.now += 0.0005
        bar(replace(STEP, done=step % 4000))
    assert 40 <= len(shown) <= 60  # in five seconds


# The time that is left

SIZES = {"base": 60_000, "clusters": 10_000 * ENCODED, "experts/0": 20_000, "experts/1": 40_000, "checks": 10_000 * ENCODED, "student": 60_000}  # fmt: skip
KINDS = {"base": "Pretrain", "clusters": "encode", "experts": "Pretrain", "checks": "encode", "student": "Distillation"}


def made_plan() -> dict[str, Work]:
    return {name: Work(images, KINDS[name.split("/")[0]]) for name, images in SIZES.items()}


def estimates(seconds: Mapping[str, float], steps: int = 50) -> Iterator[tuple[str, float, float | None, float]]:
    """Play a run whose stages take these seconds; yield the stage, the share of it, the estimate and the truth."""
    clock = Clock()
    pace = Pace(made_plan(), clock=clock)
    end = clock.now + sum(seconds.values())
    for stage, its in seconds.items():
        pace.begin(stage)
        trains = KINDS[stage.split("/")[0]] != "encode"
        for step in range(1, steps + 1):
            clock.now += its / steps
            progress = Progress(stage, step, steps, "steps") if trains else Progress("encoding", step, steps)
            placed = pace.place(progress).run
            assert placed is not None and placed.stage == stage
            yield stage, step / steps, placed.seconds_left, end - clock.now
        pace.finish(stage, its)


def test_the_time_left_is_right_where_each_image_takes_as_long_as_planned() -> None:
    seconds = {name: images * 0.01 for name, images in SIZES.items()}
    for stage, share, left, true in estimates(seconds):
        if share > 0.02 and stage != "student":
            assert left is not None and left == pytest.approx(true, rel=0.05), (stage, share)


def test_the_time_left_is_within_a_factor_of_two_where_stages_are_slower_than_planned() -> None:
    """Experts have smaller batches, the student has teachers besides, and encoding is three times as slow as planned."""
    slower = {"base": 1.0, "clusters": 3.0, "experts": 1.4, "checks": 3.0, "student": 1.8}
    seconds = {name: images * 0.01 * slower[name.split("/")[0]] for name, images in SIZES.items()}
    for stage, share, left, true in estimates(seconds):
        if share > 0.02 and true > 10:
            assert left is not None and 0.5 < left / true < 2, (stage, share, left, true)
        if stage == "student" and 0.1 < share < 0.98:
            assert left == pytest.approx(true, rel=0.05)


def test_a_machine_that_becomes_slower_is_noticed_within_the_stage() -> None:
    clock = Clock()
    pace = Pace({"base": Work(1000.0, "Pretrain")}, clock=clock)
    pace.begin("base")
    for step in range(1, 101):
        clock.now += 1 if step <= 20 else 4
        left = pace.place(Progress("base", step, 100, "steps")).run
    assert left is not None and left.seconds_left == 0.0


def test_before_anything_is_measured_no_time_is_told() -> None:
    pace = Pace(made_plan(), clock=Clock())
    assert pace.seconds_left() is None
    pace.begin("base")
    placed = pace.place(Progress("pixels", 5, 10)).run
    assert placed is not None and placed.seconds_left is None and (placed.number, placed.stages) == (1, 6)


def test_stages_that_were_done_before_tell_how_long_the_others_take() -> None:
    pace = Pace(made_plan(), clock=Clock())
    pace.finish("base", 600.0)
    pace.begin("experts/0")
    left = pace.seconds_left()
    assert left is not None and left == pytest.approx((sum(SIZES.values()) - SIZES["base"]) * 0.01)


def test_only_the_chosen_stages_are_waited_for() -> None:
    pace = Pace(made_plan(), chosen=lambda name: name == "experts/1", clock=Clock())
    for name in ("base", "clusters"):
        pace.finish(name, SIZES[name] * 0.01)
    pace.begin("experts/1")
    assert pace.seconds_left() == pytest.approx(400.0)
    placed = pace.place(Progress("experts/1", 1, 4, "steps")).run
    assert placed is not None and (placed.share, placed.number) == (0.25, 4)


def test_a_group_has_the_stages_that_there_are_and_not_those_that_were_planned() -> None:
    pace = Pace(made_plan(), plan_work=lambda do, args: Work(float(str(args[0])), "Pretrain"), clock=Clock())
    pace.plan_group("experts", print, [(5,), (6,), (7,)])
    assert list(pace.planned) == ["base", "clusters", "experts/0", "experts/1", "experts/2", "checks", "student"]
    assert pace.planned["experts/2"].images == 7.0


# Python


def test_a_program_that_watches_sees_the_whole_run(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[Progress]()
    monkeypatch.setattr(log, "watch", seen.append)
    divcon.run(photos, out=tmp_path / "run", epochs=2, **TINY)
    stages = dict.fromkeys(progress.run.stage for progress in seen if progress.run)
    assert list(stages) == ["base", "clusters", "experts/0", "experts/1", "checks", "student"]
    assert {(p.run.stage, p.run.number) for p in seen if p.run} == {(name, i) for i, name in enumerate(stages, 1)}
    shares = [progress.run.share for progress in seen if progress.run]
    assert shares[0] == 0.0 and shares[-1] == pytest.approx(1.0) and shares == sorted(shares)
    assert {"k-means", "encoding", "scan"} <= {progress.what for progress in seen} | {"scan"}
    last = [progress for progress in seen if progress.what == "student" and progress.unit == "steps"][-1]
    assert last.done == last.total and last.images_per_second and last.loss and last.data_wait is not None
    assert log.place is log.unchanged


def test_work_in_parts_counts_on_from_part_to_part(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = list[Progress]()
    monkeypatch.setattr(log, "watch", seen.append)
    for first in (0, 512):
        with log.part_of(first, 700):
            log.progress("encoding", 188 if first else 512, 512)
    assert [(progress.done, progress.total) for progress in seen] == [(512, 700), (700, 700)]


def test_a_work_in_steps_never_goes_backwards_and_ends_even_where_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = list[Progress]()
    monkeypatch.setattr(log, "watch", seen.append)
    with pytest.raises(ZeroDivisionError), log.in_steps("report", {"read": 0, "try": 40, "draw": 90}) as begin:
        log.progress("scan", 3, 4)
        begin("try")
        for part in range(3):
            with log.share_of(part, 3):
                log.progress("k-means", 20, 20, "rounds")
                log.progress("k-means", 1, 20, "rounds")
        log.progress("nothing", 0, 0)
        raise ZeroDivisionError
    assert [progress.done for progress in seen] == [0, 29, 40, 56, 56, 72, 72, 89, 89, 89, 100]
    assert {(progress.what, progress.total, progress.unit) for progress in seen} == {("report", 100, "%")}
    assert log.place is log.unchanged and progress_line(seen[3]) == "report: 56%, try"
    assert bar_texts(seen[3], 80)[0] == "report: try" and bar_texts(seen[3], 80)[2].strip() == "56%"


def test_threads_that_end_in_any_order_count_up(photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = list[Progress]()
    images = open_images(photos, cache=cache)
    monkeypatch.setattr(log, "watch", seen.append)
    thumbnails_and_measures(images, np.arange(len(images)), workers=8)
    counts = [progress.done for progress in seen]
    assert len(counts) > 2 and counts == sorted(set(counts)) and counts[-1] == seen[-1].total == len(images)


# The command


def test_through_a_pipe_there_is_a_line_for_each_stage_and_nothing_that_moves_a_cursor(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, "0")  # a line for each report
    assert typed(command(photos, tmp_path / "run", "report=true", epochs=2)) == 0
    out, err = capsys.readouterr()
    for said in (r"base \(1 of 6\): step \d+ of", r"clusters \(2 of 6\): encoding \d+ of", r"k-means \d+ of 90 rounds", r"experts/1 \(4 of 6\): step 1 of", r"student \(6 of 6\): step"):  # fmt: skip
        assert re.search(said, err), said
    report = re.findall(r"^report: (\d+)%, (.+)$", err, re.M)
    shares, steps = [int(percent) for percent, _ in report], dict.fromkeys(step for _, step in report)
    assert shares == sorted(shares) and len(set(shares)) > len(steps) and list(steps) == list(STEPS)
    assert not re.search(r"^(k-means|encoding|reading)", err, re.M)
    assert "left in all" in err and "\x1b" not in err + out


def test_a_quick_run_through_a_pipe_writes_few_lines(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, "1000")
    assert typed(command(photos, tmp_path / "run", epochs=2)) == 0
    assert len(capsys.readouterr().err.splitlines()) < 30


def on_terminal(words: list[str], terminal: str, out: str, env: dict[str, str]) -> None:
    """Run a command whose stderr is a terminal, in a process of its own."""
    os.environ.update(env)
    os.dup2(os.open(terminal, os.O_RDWR | os.O_NOCTTY), 2)
    os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT), 1)
    import sys

    from divcon.cli import main, progress

    show = ProgressBar._show

    def draw_each(self: ProgressBar) -> None:
        show(self)
        if self.live is not None:
            self.live.refresh()

    progress.DRAWN, ProgressBar._show = 0.0, draw_each  # else the clock decides which stages are drawn at all
    sys.argv = ["divcon", *words]
    main()


def seen_on_terminal(words: Sequence[str], out: Path, env: Mapping[str, str]) -> str:
    """Return what a terminal gets from a command."""
    ours, theirs = os.openpty()
    process = SERVER.Process(target=on_terminal, args=(list(words), os.ttyname(theirs), str(out), dict(env)))
    process.start()
    got, deadline = b"", time.monotonic() + 240
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.2)[0]:
            got += os.read(ours, 65536)
        elif not process.is_alive():
            break
    process.join(1)
    assert process.exitcode == 0, got.decode()
    os.close(ours)
    os.close(theirs)
    return got.decode()


def lines_of(seen: str) -> list[str]:
    """The lines that a terminal showed at some moment, without their colors."""
    return [line for line in re.split(r"[\r\n]+", ESCAPE.sub("", seen)) if line.strip()]


@pytest.mark.parametrize(("columns", "name"), [(80, "base (1 of 6)  ━"), (40, "base (1 of 6)")])
def test_on_a_terminal_one_bar_fits_and_the_answer_is_on_stdout(
    photos: Path, tmp_path: Path, columns: int, name: str
) -> None:
    env = {"COLUMNS": str(columns), "TERM": "xterm-256color", "NO_COLOR": "1"}
    seen = seen_on_terminal(command(photos, tmp_path / "run", "--json", epochs=2), tmp_path / "out", env)
    bars = [line for line in lines_of(seen) if re.search(r"\(\d of 6\)", line)]
    assert any(line.startswith(name) for line in bars)
    assert any(line.startswith("student (6 of 6)") and re.search(r" left| 100%", line) for line in bars)
    assert {len(line) <= columns for line in bars} == {True}
    assert not COLOR.search(seen)
    assert json.loads((tmp_path / "out").read_text())["done"] is True
    assert seen.rstrip().endswith("\x1b[2K") or "student: done" in lines_of(seen)[-1] or "\x1b[?25h" in seen


def test_a_terminal_that_draws_nothing_again_gets_lines(photos: Path, tmp_path: Path) -> None:
    words = command(photos, tmp_path / "run", epochs=2)
    seen = seen_on_terminal(words, tmp_path / "out", {"TERM": "dumb", VARIABLE: "0"})
    assert "\x1b" not in seen and "base (1 of 6): step " in seen


@pytest.mark.parametrize("watch", [lambda write: ProgressLines(write, 30.0), lambda write: ProgressBar()])
def test_a_report_of_progress_costs_less_than_a_hundredth_of_the_shortest_step(
    watch: Callable[[Callable[[str], None]], Callable[[Progress], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The median of many calls, against a hundredth of ten milliseconds: a step of the smallest encoder takes more."""
    monkeypatch.setattr(log, "watch", watch(lambda line: None))
    monkeypatch.setattr(ProgressBar, "_show", lambda self: None)
    pace, seconds = Pace(made_plan()), list[float]()
    with pace.shown():
        pace.begin("base")
        for step in range(2000):
            begin = time.perf_counter()
            log.progress("base", step + 1, 2000, "steps", images_per_second=1.0, data_wait=0.0, loss=1.0)
            seconds.append(time.perf_counter() - begin)
    assert sorted(seconds)[1000] < 1e-4


def test_finished_runs_are_what_they_were_without_progress(photos: Path, tmp_path: Path) -> None:
    """Who watches changes no bit."""
    watched = tmp_path / "run"
    seen = list[Progress]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "watch", seen.append)
        divcon.run(photos, out=watched, epochs=4, **TINY)
    files = ["student/encoder.safetensors", "clusters/centroids.npy"]
    assert seen and all((watched / f).read_bytes() == (finished(photos) / f).read_bytes() for f in files)
