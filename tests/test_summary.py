"""The summary at the end of a run: numbers, places, and commands that can be typed."""

import io
import json
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from test_pipeline import STAGES, command, finished, typed

import divcon
from divcon.api.run import RunAnswer
from divcon.api.run_summary import RunScores, RunSummary, named_scores, summarize
from divcon.cli.summary import next_commands, summary_text
from divcon.runs.folder import EVALS

SUMMARY = RunSummary(6882, 103_230, 751.0, {"base": 751.0}, "runs/photos/student/encoder.safetensors", None, [])


class Answered(RunAnswer):
    """An answer with a summary that no folder has."""

    summary = SUMMARY


def test_the_summary_says_what_was_done_where_it_lies_and_how_good_it_is() -> None:
    scores = [RunScores("student", "labeled", {"knn": 0.642, "linear": 0.621})]
    ran = Answered(Path("runs/photos"), ["base", "clusters", "experts/0", "student"], True)
    ran.__dict__["summary"] = replace(SUMMARY, report="runs/photos/report.html", scores=scores)
    assert summary_text(ran, None, ["divcon status runs/photos"]).splitlines() == [
        "runs/photos: done",
        "  did     base, clusters, experts/0, and 1 more",
        "  images  6,882; the trainings showed 103,230",
        "  time    13 min in 1 stage",
        "  encoder runs/photos/student/encoder.safetensors",
        "  scores  20-NN 64.2%, linear 62.1% (student on labeled)",
        "  report  runs/photos/report.html",
        "next:",
        "  divcon status runs/photos",
    ]


def test_without_scores_and_report_no_line_speaks_of_them() -> None:
    text = summary_text(Answered(Path("r"), [], True), None, [])
    assert "nothing was left to do" in text
    assert not any(word in text for word in ("scores", "report", "next", "did "))


def test_the_numbers_are_those_of_the_stages(photos: Path) -> None:
    summary = summarize(finished(photos))
    assert list(summary.stages) == STAGES and summary.images == 160
    lines = [finished(photos) / name / "metrics.jsonl" for name in ("base", "experts/0", "experts/1", "student")]
    last = [json.loads(line.read_text().splitlines()[-1]) for line in lines]
    assert summary.images_seen == sum(line["steps"] * line["batch_size"] for line in last)
    assert summary.encoder == str(finished(photos) / "student/encoder.safetensors")


@pytest.mark.parametrize(
    ("data", "run", "words"),
    [
        ("photos", "runs/a", ["runs/a", "photos", "out=runs/a.parquet"]),
        ("my photos", "my $run", ["my $run", "my photos", "out=my $run.parquet"]),
        (["a.tar", "b.tar"], "r", ["r", "a.tar", "b.tar", "out=r.parquet"]),
        ("shards/{0..9}.tar", "r", ["r", "shards/{0..9}.tar", "out=r.parquet"]),
        ("-photos", "a=b", ["./a=b", "./-photos", "out=./a=b.parquet"]),
        ("<b>&'\"", "写真", ["写真", "<b>&'\"", "out=写真.parquet"]),
    ],
)
def test_a_command_is_one_word_a_path_for_a_shell(
    data: str | list[str], run: str, words: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("divcon.cli.summary.SUGGESTED", 10)
    embed = next(line for line in next_commands(data, SUMMARY, Path(run)) if line.startswith("divcon embed "))
    assert shlex.split(embed)[2:] == list(words)


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "\udcff"])
def test_a_path_that_can_not_be_copied_is_in_no_command(name: str) -> None:
    assert next_commands("photos", SUMMARY, Path(name)) == next_commands(name, SUMMARY, Path("run")) == []
    ran = Answered(Path(name), ["base"], True)
    assert all(line.isprintable() for line in summary_text(ran, None, []).splitlines())


def test_the_three_commands_can_be_typed(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = shutil.copytree(finished(photos), tmp_path / "a run")
    assert typed(command(photos, run)) == 0
    said = capsys.readouterr().out
    commands = [shlex.split(line) for line in said.split("next:\n")[1].splitlines()]
    assert f"{run}: done; nothing was left to do" in said and len(commands) == 3
    assert [words[0] for words in commands] == ["divcon"] * 3
    assert [typed(words[1:]) for words in commands] == [0, 0, 0]


def test_the_answer_for_programs_has_the_numbers_of_the_summary_and_the_scores_that_were_kept(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(
        finished(photos), tmp_path / "run", ignore=shutil.ignore_patterns(EVALS)
    )  # other tests score it
    scored = divcon.evaluate(run, photos, tasks="knn")
    assert scored.knn is not None
    (run / "report.html").write_text("")
    assert typed([*command(photos, run), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert {"run", "did", "done"} <= set(answer) and answer["did"] == [] and answer["done"] is True
    assert answer["scores"] == [{"stage": "student", "labeled": str(photos), "top1": {"knn": scored.knn.top1}}]
    assert answer["report"] == str(run / "report.html") and answer["seconds"] > 0 and len(answer["next"]) == 3
    assert named_scores(run) == {f"student/{photos.name}/knn": scored.knn.top1}


def test_a_name_that_the_terminals_encoding_lacks_does_not_end_the_command(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    run = shutil.copytree(finished(photos), tmp_path / "写真")
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="iso-8859-1", write_through=True))
    assert typed(command(photos, run)) == 0
    assert b"\\u5199\\u771f: done" in raw.getvalue()
