"""Loggers: what the real local writers of TensorBoard, MLflow and W&B keep of a run is read back."""

import ast
import importlib
import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from audited import HOOK
from conftest import TINY
from test_cli import told
from test_pipeline import command, typed

import divcon
from divcon import log
from divcon.errors import InputError, UsageError
from divcon.loggers.contract import LoggedRun, Logger
from divcon.loggers.logged import logged, numbers
from divcon.loggers.registry import logger_named, logger_names, names_in

OPTIONS: dict[str, object] = {"epochs": 60, "base.options.temperature": 0.2, "labels": None, "name": "x" * 2000}
SCORES = {"student/knn": 0.5}
LOGGERS_OWN = ("WANDB", "MLFLOW")  # how variables of a user's environment begin that change where numbers go
Reported = tuple[str, int | None, dict[str, object], str]  # stage, step, values, key
History = dict[str, list[tuple[int, float]]]  # the steps and values of each name, in the order in which they were kept

# A process that works on a run: `logged` as `divcon run` calls it, with numbers that a training would report.
PROCESS = """
import json, os, sys, time
from pathlib import Path
from divcon import log
from divcon.loggers.logged import logged
folder, name, options, scores, records, dies = json.loads(sys.argv[1])
with logged(Path(folder), [name], options, lambda: scores):
    for stage, step, values, key in records:
        log.record(stage, step, values, key)
    if dies:
        time.sleep(1)  # a training has begun its next steps by then
        os._exit(9)
"""


def loss(step: int) -> float:
    return 4.0 - step / 8


def training(stage: str, first: int, end: int, key: str) -> list[Reported]:
    return [(stage, step, {"step": step, "loss": loss(step), "lr": 0.5}, key) for step in range(first, end)]


def story(name: str, folder: Path) -> None:
    """A training is killed after step 5, with a checkpoint of step 3; it goes on; another one follows; the first one is done
    again with other options."""
    summary: Reported = ("base", None, {"seconds": 7.0, "sizes": [3, 4], "loss": None}, "k1")
    in_a_process(folder, name, training("base", 0, 6, "k1"), dies=True)
    here(folder, name, [*training("base", 3, 10, "k1"), summary, *training("experts/0", 0, 2, "e")])
    here(folder, name, [summary, *training("student", 0, 2, "s"), *training("base", 0, 3, "k2")])


def here(folder: Path, name: str, records: Sequence[Reported]) -> None:
    """Report numbers to a logger."""
    with logged(folder, [name], OPTIONS, lambda: SCORES):
        for stage, step, values, key in records:
            log.record(stage, step, values, key)


def in_a_process(
    folder: Path, name: str, records: Sequence[Reported], dies: bool = False, env: Mapping[str, str] | None = None
) -> None:
    """Report numbers to a logger in a process of its own, that may be killed at the end."""
    words = json.dumps([str(folder), name, OPTIONS, SCORES, records, dies])
    given = {key: value for key, value in os.environ.items() if not key.startswith(LOGGERS_OWN)}
    path = str(Path(divcon.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", PROCESS, words],
        env={**given, "PYTHONPATH": path, **(env or {})},
        capture_output=True,
        text=True,
    )
    assert done.returncode == (9 if dies else 0), done.stderr
    assert done.stdout == "" and "given up" not in done.stderr, done.stderr


# What each logger kept


def of_tensorboard(folder: Path) -> tuple[History, str]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history, options = History(), ""
    for events in sorted({file.parent for file in (folder / "tensorboard").rglob("events.*")}):
        kept = EventAccumulator(str(events), size_guidance={"scalars": 0})
        kept.Reload()
        space = events.relative_to(folder / "tensorboard")
        for tag in kept.Tags()["scalars"]:
            history[f"{space}/{tag}"] = [(event.step, event.value) for event in kept.Scalars(tag)]
        for tag in kept.Tags()["tensors"]:
            options += "".join(
                str(value.decode()) for event in kept.Tensors(tag) for value in event.tensor_proto.string_val
            )
    return history, options


def of_mlflow(folder: Path) -> tuple[History, str]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (run,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert run.info.status == "FINISHED" and run.info.run_name == folder.name
    names = run.data.metrics
    return {
        name: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
        for name in names
    }, str(run.data.params)


def of_wandb(folder: Path) -> tuple[History, str]:
    from wandb.proto import wandb_internal_pb2

    history, options, lines = History(), "", list[int]()
    for file in sorted((folder / "wandb").glob("offline-run-*/*.wandb"), key=lambda file: file.parent.stat().st_mtime):
        for data in records_of(file.read_bytes()):
            record = wandb_internal_pb2.Record.FromString(data)
            options += str(record.run.config) if record.WhichOneof("record_type") == "run" else ""
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            summary = {item.key or "/".join(item.nested_key): item.value_json for item in record.summary.update}
            for name in [name for name in summary if "/summary/" in name]:  # W&B repeats the last line there, too
                history.setdefault(name, []).append((0, json.loads(summary[name])))
            lines += [items["_step"]] if "_step" in items else []
            for name, value in items.items():
                space = name.rpartition("/")[0]
                if space and not name.endswith("/step"):
                    history.setdefault(name, []).append((items[f"{space}/step"], value))
    assert lines == sorted(set(lines)), "W&B drops a line whose number does not rise"
    return history, options


def records_of(data: bytes) -> Iterator[bytes]:
    """Yield the records of a .wandb file: a log of LevelDB, in blocks of 32 KiB, after a header of 7 bytes."""
    at, record = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        record += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # a whole record, or the last part of one
            yield record
            record = b""


READERS = {"tensorboard": of_tensorboard, "mlflow": of_mlflow, "wandb": of_wandb}
# MLflow makes a database, and W&B starts a service: each takes half a minute.
EACH = ["tensorboard", pytest.param("mlflow", marks=pytest.mark.slow), pytest.param("wandb", marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=EACH)
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[History, str]]:
    """What a logger kept of the story."""
    for module in logger_named(request.param).needs:
        pytest.importorskip(module)
    folder = tmp_path_factory.mktemp(request.param) / "my run"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for variable in [name for name in os.environ if name.startswith(LOGGERS_OWN)]:
            patch.delenv(variable)
        story(request.param, folder)
        yield READERS[request.param](folder)


def test_a_resumed_run_repeats_no_step_and_never_goes_back(kept: tuple[History, str]) -> None:
    history, _ = kept
    assert history["base/loss"] == [(step, pytest.approx(loss(step))) for step in range(10)]
    assert [step for step, _ in history["base/lr"]] == list(range(10))


def test_each_stage_has_its_own_space_and_a_stage_done_in_another_way_has_another(kept: tuple[History, str]) -> None:
    history, _ = kept
    assert [step for step, _ in history["experts/0/loss"]] == [0, 1]
    assert [step for step, _ in history["student/loss"]] == [0, 1]
    assert history["base-2/loss"] == [(step, pytest.approx(loss(step))) for step in range(3)]


def test_summaries_and_scores_are_kept_once(kept: tuple[History, str]) -> None:
    history, _ = kept
    final = {name: values for name, values in history.items() if "summary" in name}
    assert {name: value for name, [(_, value)] in final.items()} == {
        "base/summary/seconds": 7.0, "base/summary/sizes/0": 3.0, "base/summary/sizes/1": 4.0, "scores/summary/student/knn": 0.5,
    }  # fmt: skip


def test_the_options_are_kept(kept: tuple[History, str]) -> None:
    _, options = kept
    assert "base.options.temperature" in options and "0.2" in options


@pytest.mark.parametrize("name", EACH)
def test_no_logger_opens_the_network_or_writes_outside_the_run(name: str, tmp_path: Path) -> None:
    """W&B speaks with a process of its own through a socket in the folder of temporary files. urllib3, which MLflow imports,
    binds a socket to this machine's own address (::1, port 0) and closes it, to see if there is IPv6. No other is opened."""
    for module in logger_named(name).needs:
        pytest.importorskip(module)
    for folder in ("hook", "home", "run", "tmp"):
        (tmp_path / folder).mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(HOOK)
    path = os.pathsep.join([str(tmp_path / "hook"), str(Path(divcon.__file__).parent.parent)])
    env = {"AUDIT_LOG": str(tmp_path / "log"), "HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")}
    in_a_process(tmp_path / "run", name, training("base", 0, 2, "k"), env={**env, "PYTHONPATH": path})
    events = [ast.literal_eval(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert any(event[0] == "open" for event in events)
    reached = [str(event[1]) for event in events if event[0] in ("socket.connect", "socket.bind", "socket.getaddrinfo")]
    local = {"wandb": str(tmp_path / "tmp"), "mlflow": "'::1', 0", "tensorboard": "none"}[name]
    assert [address for address in reached if local not in address] == []
    started = [str(event[1]) for event in events if event[0] == "subprocess.Popen"]
    assert [line for line in started if not re.search("ldconfig|gcc|uname|wandb-core", line)] == []
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == []


# The command


def test_every_file_of_the_room_is_a_logger_with_its_reader_here() -> None:
    assert logger_names() == sorted(READERS)
    assert all(logger_named(name).needs and logger_named(name).open_logger for name in logger_names())


def test_an_unknown_logger_is_refused_with_its_neighbor() -> None:
    with pytest.raises(UsageError, match="did you mean 'tensorboard'"):
        names_in("tensorbord")


def test_a_logger_that_is_not_installed_is_refused_before_the_run_begins(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logger_named("wandb"), "needs", ("no_such_module",))
    code, line = told(command(photos, tmp_path / "run", "log=wandb"), capsys)
    assert code == InputError.code and "pip install 'divcon[loggers]'" in line
    assert not (tmp_path / "run").exists()


class Failing:
    """A logger on a disk that is full."""

    def log(self, space: str, step: int, values: Mapping[str, float], line: int) -> None:
        raise OSError(28, "No space left on device")

    summarize = log
    close = log


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the runs that were opened by a logger which fails."""
    opened = list[str]()

    def open_logger(run: LoggedRun) -> Logger:
        opened.append(run.id)
        return Failing()

    module = importlib.import_module("divcon.loggers.tensorboard")
    monkeypatch.setattr(module, "open_logger", open_logger)
    monkeypatch.setattr(module, "needs", ())
    return opened


def test_a_logger_that_fails_warns_once_and_the_run_is_done(
    photos: Path, tmp_path: Path, failing: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(command(photos, tmp_path / "run", "log=tensorboard", epochs=1)) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "given up" in line]
    assert len(warnings) == len(failing) == 1 and "No space left on device" in warnings[0]


def test_a_logger_that_can_not_be_opened_warns_and_the_block_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(run: LoggedRun) -> Logger:
        raise ImportError("numpy has another version\nand more")

    monkeypatch.setattr(importlib.import_module("divcon.loggers.mlflow"), "open_logger", broken)
    with logged(tmp_path, ["mlflow"], {}, lambda: SCORES):
        log.record("base", 0, {"loss": 1.0}, "k")
    assert [record.getMessage() for record in caplog.records] == [
        "log=mlflow is given up, the run goes on: ImportError: numpy has another version"
    ]
    assert log.keep is log.ignore_record


def test_the_lines_of_a_run_are_those_of_its_metrics(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    ran = divcon.run(photos, out=tmp_path / "run", epochs=1, log=["tensorboard"], **TINY)
    history, options = of_tensorboard(ran.folder)
    for stage in ("base", "experts/1", "student"):
        lines = [json.loads(line) for line in (ran.folder / stage / "metrics.jsonl").read_text().splitlines()]
        assert history[f"{stage}/loss"] == [(line["step"], pytest.approx(line["loss"])) for line in lines]
    assert history["clusters/summary/k"][0][1] == 2.0 and "student.lr" in options
    assert "log" not in json.loads((ran.folder / "run.json").read_text())["typed"]


def test_only_numbers_are_sent() -> None:
    values = {"step": 3, "loss": 1, "done": True, "why": "x", "sizes": [1, 2.5], "many": [0] * 1000, "none": None}
    assert numbers(values) == {"loss": 1.0, "sizes/0": 1.0, "sizes/1": 2.5}
