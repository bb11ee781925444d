"""A comparison of runs: means over seeds, costs that a slow count confirms, warnings, and files."""

import json
import math
import re
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_cli import told
from test_pipeline import EPOCHS, finished, typed
from torch import Tensor, nn

import divcon
from divcon.api import scoring
from divcon.api.compared_scores import Score, titles_of
from divcon.api.comparison import CompareAnswer, ComparedRecipe, ComparedRun, recipe_names, unfairness
from divcon.api.comparison_files import draw_plot, write_table
from divcon.api.flops import encode_passes, forward_flops, step_flops
from divcon.api.run_cost import CostCounter
from divcon.errors import InputError, UsageError
from divcon.files.integrity import read_json, write_json
from divcon.nets.encoder import EncoderSpec, build
from divcon.nets.net import Net
from divcon.nets.trained import InputSpec
from divcon.runs.records import RunRecord
from divcon.stages.pretrain import Pretrain

LOSS = {"swav": 1.25}  # a loss multiplies matrices, too; SwAV has 3,000 prototypes for its small encoder
SINGLE = {"encoder": "slim10_w8", "size": 16, "batch_size": 16, "hidden": 32, "dim": 16, "precision": "fp32"}


@pytest.fixture(scope="module")
def runs(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A run of DnC, two of SimCLR that differ in their seeds with the same budget, and one of MoCLR with half of it."""
    folder = tmp_path_factory.mktemp("runs")
    dnc = shutil.copytree(finished(photos), folder / "dnc", ignore=shutil.ignore_patterns("evals"))
    for name, options in {
        "one": {"recipe": "simclr", "epochs": EPOCHS},
        "other": {"recipe": "simclr", "epochs": EPOCHS, "seed": 1},
        "half": {"recipe": "moclr", "epochs": EPOCHS / 2},
    }.items():
        divcon.run(photos, out=folder / name, **SINGLE, **options)
    return [dnc, folder / "one", folder / "other", folder / "half"]


def test_runs_that_differ_in_their_seeds_only_are_one_row_with_mean_and_spread(photos: Path, runs: list[Path]) -> None:
    answer = divcon.compare(runs, labels=photos)
    assert [(row.recipe, row.runs) for row in answer.recipes] == [("dnc", 1), ("simclr", 2), ("moclr", 1)]
    assert [row.seed for row in answer.runs] == [0, 0, 1, 0] and [row.run for row in answer.runs] == [*map(str, runs)]
    dnc, simclr, _ = answer.recipes
    for score in ("knn", "linear"):
        values = [getattr(divcon.evaluate(run, photos), score).top1 for run in runs[1:3]]
        assert getattr(simclr, score) == pytest.approx(np.mean(values))
        assert getattr(simclr, f"{score}_spread") == pytest.approx(np.std(values, ddof=1))
    assert dnc.knn_spread is None and dnc.linear_spread is None
    for run, row in zip(runs, answer.runs, strict=True):
        stages = divcon.status(run).stages.values()
        assert row.images_seen == sum(stage.images_seen or 0 for stage in stages)
        assert row.seconds == pytest.approx(sum(stage.seconds for stage in stages), abs=0.1)


def test_budgets_that_are_not_equal_are_warned_of_by_name(
    photos: Path, runs: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    assert divcon.compare(runs[1:3], labels=photos).warnings == [] and "budgets" not in caplog.text
    (said,) = divcon.compare(runs[1:], labels=photos).warnings
    assert said.startswith("the budgets are not equal: simclr saw 640 images (100% more than moclr), moclr saw 320")
    assert said in caplog.text


def test_scores_that_a_run_keeps_are_used_again(
    photos: Path, runs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = divcon.compare(runs[:2], labels=photos)
    with monkeypatch.context() as patch:
        patch.setattr(scoring, "encoder_of", None)  # no feature is computed
        assert divcon.compare(runs[:2], labels=photos) == before
        with pytest.raises(TypeError):
            divcon.compare(runs[:2], labels=photos, seed=1)


def test_every_other_score_that_runs_keep_has_a_column_of_its_own(
    photos: Path, runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copies = [shutil.copytree(run, tmp_path / run.name) for run in runs[1:]]
    few, swept = "few_shot", {"linear_45.penalties": [0.1]}
    found = [divcon.evaluate(run, photos, tasks="few_shot,rankme").tasks for run in copies[:2]]
    divcon.evaluate(copies[2], photos, tasks="few_shot", settings={"few_shot.draws": 2})
    for each, seed, layer in ((copies[0], 0, "pool"), (copies[0], 1, "pool"), (copies[1], 0, "hidden")):
        divcon.evaluate(each, photos, tasks="linear_45", settings=swept, seed=seed, layer=layer)
    answer = divcon.compare(copies, labels=photos)
    simclr, moclr = answer.recipes
    title, other = "few_shot draws=5", "few_shot draws=2"
    assert answer.titles == [title, "rankme", other], "the sweep of one seed of two is the score of no recipe"
    for name, task in ((title, few), ("rankme", "rankme")):
        values = [tasks[task].score for tasks in found]
        assert simclr.scores[name] == pytest.approx(np.mean(values))
        assert simclr.spreads[name] == pytest.approx(np.std(values, ddof=1))
    assert list(moclr.scores) == [other] and not moclr.spreads
    assert [list(row.scores) for row in answer.runs] == [[title, "linear_45", "rankme"], [title, "rankme"], [other]]
    assert typed(["compare", *map(str, copies), f"labels={photos}", f"out={tmp_path / 'a.csv'}"]) == 0
    head = capsys.readouterr().out.splitlines()[0]
    assert re.split(" {2,}", head)[2:7] == ["20-NN", "linear", title, "rankme", other]
    head, _, second = (tmp_path / "a.csv").read_text().splitlines()
    assert head.endswith(f"seconds,{title},{title}_spread,rankme,rankme_spread,{other},{other}_spread")
    assert second.endswith(f",,,,,{moclr.scores[other]},")


def test_scores_that_were_taken_without_labels_are_shown_too(photos: Path, runs: list[Path], tmp_path: Path) -> None:
    run = shutil.copytree(runs[3], tmp_path / "half")
    settings = {"number_of_clusters.images": 100}
    found = divcon.evaluate(run, photos, tasks="unlabeled", settings=settings).tasks
    beside = divcon.evaluate(run, photos, tasks="few_shot,rankme").tasks
    (row,) = divcon.compare([run], labels=photos).recipes
    silhouette = found["number_of_clusters"].score
    shown = {
        "agreement": found["agreement"].score,
        "rankme": beside["rankme"].score,
        "few_shot": beside["few_shot"].score,
    }
    assert row.scores == shown | ({} if silhouette is None else {"number_of_clusters: silhouette": silhouette})
    assert beside["rankme"].score == pytest.approx(found["rankme"].score, rel=1e-5)


def test_scores_of_one_task_are_told_apart_by_what_they_differ_in() -> None:
    a, b, c = (
        Score("t", metric, settings)
        for metric, settings in (("m", '{"x": 1, "y": [2]}'), ("m", '{"x": 3, "y": [2]}'), ("n", "{}"))
    )
    assert titles_of([a]) == {a: "t"} and titles_of([b, a]) == {a: "t x=1", b: "t x=3"}
    assert titles_of([a, c, Score("u", "m", "{}")]) == {a: "t x=1 y=[2] (m)", c: "t (n)", Score("u", "m", "{}"): "u"}


def test_a_title_tells_a_long_list_by_its_ends_unless_two_lists_have_the_same() -> None:
    a, b, c = (Score("t", "m", json.dumps({"x": x})) for x in ([1, 2, 3, 4, 5], [1.0], [1, 3, 3, 4, 5]))
    assert titles_of([a, b]) == {a: "t x=[1 .. 5, 5 values]", b: "t x=[1.0]"}
    assert titles_of([a, c]) == {a: "t x=[1, 2, 3, 4, 5]", c: "t x=[1, 3, 3, 4, 5]"}


# FLOPs, against a slow count


class SlowCount:
    """Counts two for each multiplication of convolutions and linear layers, by hooks, and as much again for the gradient of
    the weights and for that of the input, where there is one."""

    def __init__(self, network: nn.Module):
        self.forward, self.backward = 0, 0
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.register_forward_hook(self.count)

    def count(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d | nn.Linear)
        products = 2 * output.numel() * math.prod(module.weight.shape[1:])
        self.forward += products
        if output.requires_grad:
            self.backward += products * (1 + inputs[0].requires_grad)


@pytest.mark.parametrize("method", ["simclr", "moclr", "byol", "moco", "swav", "rotation", "deepcluster", "npid"])
def test_the_flops_of_a_step_are_those_of_a_slow_count_of_its_layers(method: str) -> None:
    recipe = Pretrain(samples_seen=64, method=method, encoder=EncoderSpec("slim10_w8"), input_spec=InputSpec(32))
    slow = list[float]()
    build_method = recipe.method_for(64)

    def watched(encoder: nn.Module) -> Any:
        made = build_method(encoder)
        forward = made.forward
        count = SlowCount(made)

        def counting(batch: Any, at: Any) -> Any:
            outcome = forward(batch, at)
            slow.append((count.forward + count.backward) / len(batch.index))
            return outcome

        made.forward = counting
        return made

    fast = step_flops(recipe, watched)
    assert len(slow) == 1 and slow[0] <= fast * 1.0001 and fast < slow[0] * LOSS.get(method, 1.05)


def test_features_cost_what_a_slow_count_says_at_each_layer() -> None:
    net = Net(build(EncoderSpec("slim10_w8"), 32), hidden=24, dim=8).eval()
    costs = [forward_flops(net, 32, layer) for layer in ("pool", "hidden", "projection")]
    count = SlowCount(net)
    net(torch.zeros(1, 3, 32, 32))
    assert costs[2] == count.forward
    assert costs[1] - costs[0] == 2 * 64 * 24 and costs[2] - costs[1] == 2 * 24 * 8


@pytest.mark.parametrize(
    ("method", "passes"), [("simclr", 0), ("deepcluster", 7.5), ("deepcluster_v2", 1), ("npid", 0)]
)
def test_passes_over_the_collection_are_counted_for_methods_that_make_them(method: str, passes: float) -> None:
    recipe = Pretrain(samples_seen=64, method=method, encoder=EncoderSpec("slim10_w8"), input_spec=InputSpec(32))
    assert encode_passes(recipe, recipe.method_for(64), 7.5) == passes


def test_the_flops_of_a_run_are_those_of_its_stages(runs: list[Path]) -> None:
    dnc = CostCounter().cost_of(runs[0])
    simclr = CostCounter().cost_of(runs[1])
    size, n = 16, 160
    pool = forward_flops(Net(build(EncoderSpec("slim10_w8"), size)), size)
    stages = divcon.status(runs[0]).stages
    seen = {name: stage.images_seen or 0 for name, stage in stages.items()}
    contrastive = seen["base"] + seen["experts/0"] + seen["experts/1"]
    expected = pool * (
        8 * contrastive + n + (6 + 4) * seen["student"]
    )  # MoCLR: 2 x (3 + 1); a student's teachers: 2 x 2
    assert dnc.flops == pytest.approx(expected, rel=0.1)
    assert simclr.flops == pytest.approx(pool * 6 * simclr.images_seen, rel=0.1)


def test_a_base_of_another_run_is_part_of_the_cost(photos: Path, runs: list[Path], tmp_path: Path) -> None:
    source = shutil.copytree(runs[0], tmp_path / "source")
    tiny = {**SINGLE, "clusters.k": 2, "clusters.smallest": 16}
    ran = divcon.run(photos, out=tmp_path / "run", epochs=EPOCHS, base=source, seed=5, **tiny)
    whole, alone = CostCounter().cost_of(ran.folder), CostCounter().cost_of(source)
    assert whole.unknown == [] and whole.flops is not None and alone.flops is not None
    assert whole.images_seen == alone.images_seen and whole.flops == pytest.approx(alone.flops, rel=0.02)
    shutil.rmtree(source)
    lost = CostCounter().cost_of(ran.folder)
    assert lost.flops is None and lost.images_seen < whole.images_seen and "base of" in lost.unknown[0]


def test_a_stage_that_no_version_of_divcon_has_has_no_known_cost(runs: list[Path], tmp_path: Path) -> None:
    run = shutil.copytree(runs[1], tmp_path / "run")
    record = read_json(run / "base" / "stage.json")
    write_json(run / "base" / "stage.json", {**record, "key": {**record["key"], "do": "os.system"}})
    cost = CostCounter().cost_of(run)
    assert cost.flops is None and "there is no stage os.system" in cost.unknown[0]


# names and rows


def record(images: str = "a", **options: object) -> RunRecord:
    typed = {name: value for name, value in options.items() if name != "default"}
    return RunRecord(typed, {"recipe": "dnc", "seed": 0, "epochs": 60.0, **options}, {}, images, 10, ["base"], "base")


@pytest.mark.parametrize(
    ("records", "names"),
    [
        ([record(), record(seed=1), record(seed=2, **{"base.seed": 3})], ["dnc", "dnc", "dnc"]),
        ([record(), record(recipe="simclr")], ["dnc", "simclr"]),
        ([record(epochs=30.0), record(epochs=60.0, seed=4)], ["dnc epochs=30", "dnc epochs=60"]),
        ([record(recipe="moclr", epochs=30.0), record(epochs=60.0)], ["moclr", "dnc"]),
        ([record("a"), record("b")], ["dnc (0)", "dnc (1)"]),
        ([record(default=1), record(default=2), record(default=2, seed=1)], ["dnc (0)", "dnc (1)", "dnc (1)"]),
    ],
)
def test_recipes_are_named_by_what_tells_them_apart(records: list[RunRecord], names: list[str]) -> None:
    paths = [Path(str(i)) for i in range(len(records))]
    assert [*recipe_names(dict(zip(paths, records))).values()] == names


def test_runs_of_other_images_are_warned_of() -> None:
    rows = [ComparedRecipe.of("dnc", [ComparedRun("a", "dnc", 0, 0.5, None, 100, None, 1.0)])]
    assert unfairness(rows, {Path("a"): record("a"), Path("b"): record("b")}) == [
        "the runs were trained on 2 different collections"
    ]


def test_a_mean_of_values_that_are_not_all_known_is_not_known() -> None:
    rows = [ComparedRun(str(i), "x", i, 0.5 + i / 10, None if i else 0.5, 100 + i, None, 1.0) for i in range(3)]
    row = ComparedRecipe.of("x", rows)
    assert (row.knn, row.knn_spread) == (pytest.approx(0.6), pytest.approx(0.1))
    assert (row.linear, row.linear_spread, row.flops, row.images_seen) == (None, None, None, 101)


# files


@pytest.fixture
def answer() -> CompareAnswer:
    def row(name: str, knn: float, spread: float | None, flops: float | None = 1e12) -> ComparedRecipe:
        return ComparedRecipe(name, 2 if spread else 1, knn, spread, knn + 0.1, spread, 1000.0, flops, 2.0)

    rows = [row("dnc", 0.5, 0.01), row("=cmd|<b>$x$ & $", 0.4, None, 3e12)]
    return CompareAnswer("labeled", 100, 10, rows, [], [])


def test_the_table_is_json_or_csv_that_no_spreadsheet_computes(answer: CompareAnswer, tmp_path: Path) -> None:
    write_table(answer, tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text()) == answer.as_json()
    write_table(answer, tmp_path / "a.csv")
    head, first, second = (tmp_path / "a.csv").read_text().splitlines()
    assert head.startswith("recipe,runs,knn,knn_spread") and first.startswith("dnc,2,0.5,0.01,0.6,0.01,")
    assert not second.startswith("=") and ",," in second


@pytest.mark.parametrize("known", [True, False])
def test_the_plot_is_drawn_with_any_name_and_is_the_same_file_each_time(
    answer: CompareAnswer, tmp_path: Path, known: bool
) -> None:
    rows = answer.recipes if known else [replace(answer.recipes[0], flops=None), answer.recipes[1]]
    for name in ("a.svg", "b.svg", "a.png", "a.pdf") if known else ("a.svg", "b.svg"):
        draw_plot(replace(answer, recipes=rows), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    text = "".join(ET.parse(tmp_path / "a.svg").getroot().itertext())
    assert "=cmd|<b>$x$ & $" in text and "dnc (2 runs)" in text and ("FLOPs" if known else "images seen") in text
    assert not known or (tmp_path / "a.png").stat().st_size > 5000


# the typed verb


def test_a_typed_comparison_shows_a_row_for_each_recipe_and_writes_its_files(
    photos: Path, runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / "a.csv", tmp_path / "a.svg"]
    words = ["compare", *map(str, runs), f"labels={photos}", f"out={files[0]}", f"plot={files[1]}"]
    assert typed(words) == 0
    said = capsys.readouterr()
    head, *rows = said.out.split("\n\n")[0].splitlines()
    assert head.split()[:4] == ["recipe", "runs", "20-NN", "linear"] and [row.split()[0] for row in rows] == [
        "dnc",
        "simclr",
        "moclr",
    ]
    assert "±" in rows[1] and "the budgets are not equal" in said.err and all(file.is_file() for file in files)
    assert typed([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == divcon.compare(runs, labels=photos).as_json()


def test_a_comparison_is_refused_with_what_to_type(
    photos: Path, runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, labels = str(runs[0]), f"labels={photos}"
    (tmp_path / "link").symlink_to(runs[0])
    (tmp_path / "voc" / "JPEGImages").mkdir(parents=True)
    (tmp_path / "voc" / "ImageSets").mkdir()
    cases: list[tuple[list[str], int, str]] = [
        ([run, str(runs[1])], 64, "labels= is missing"),
        ([run, str(tmp_path / "none"), labels], 66, "is not a run"),
        ([run, str(runs[1]), str(tmp_path / "link"), labels], 64, f"{run} is named twice; name each run once"),
        ([run, f"labels={tmp_path / 'voc'}"], 64, f"type divcon eval RUN {tmp_path / 'voc'}"),
        ([run, labels, "lables=x"], 64, "did you mean 'labels'"),
        ([run, labels, f"plot={tmp_path / 'a.gif'}"], 64, "let the name end in .svg, .png or .pdf"),
        ([run, labels, f"out={tmp_path / 'a.txt'}"], 64, "let the name end in .csv or .json"),
    ]
    for words, code, says in cases:
        found, said = told(["compare", *words], capsys)
        assert found == code and says in said
    for runs_ in ([], run):
        with pytest.raises(UsageError, match="give a list of runs"):
            divcon.compare(runs_, labels=photos)
    shutil.copytree(runs[0], tmp_path / "undone")
    divcon.redo(tmp_path / "undone", "student")
    with pytest.raises(InputError, match="is not done"):
        divcon.compare([tmp_path / "undone"], labels=photos)
