"""Refusals come before the base is trained, wherever that can be; and no message grows with the data."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY
from test_cli import told
from test_host import STEPS

import divcon
from divcon.api import run_plan
from divcon.api.demo import demo
from divcon.clustering.clusters import Clusters
from divcon.config import unknown_name, validate_fields
from divcon.errors import DamagedError, DataError, Error, InputError, UsageError, few
from divcon.files.integrity import write_json
from divcon.recipes import Options
from divcon.runs.forget import forget_stages
from divcon.runs.records import RunRecord
from divcon.runs.verify import verify_stage
from divcon.stages.learning import fitting_batch

LATE: list[tuple[dict[str, Any], type[Error], str]] = [
    ({"encoder": "resnet18", "base.encoder.options": {"block_reduce_first": 2}}, UsageError, "expert.start=base, but this"),
    ({"expert.options.dim": 32}, UsageError, "expert.start=base, but this network has another shape"),
    ({"expert.options.dim": 32, "expert.start": "scratch", "student.layer": "projection"}, UsageError, "base gives 16 .* 32"),
    ({"expert.encoder.name": "slim10", "expert.start": "scratch"}, UsageError, "base gives 64 .* expert 128"),
    ({"student.encoder.name": "slim10"}, UsageError, "student.start=base, but this network"),
    ({"method": "rotation", "student.layer": "projection"}, UsageError, "student.layer=projection: rotation has none"),
    ({"expert.recompute": True}, UsageError, "recompute=true"),
    ({"student.encoder.init": "nowhere"}, InputError, "init=nowhere"),
    ({"recipe": "clusterfit", "refit.start": "base"}, UsageError, "refit.start=base: only experts and students"),
    ({"recipe": "clusterfit", "refit.encoder.init": "nowhere"}, InputError, "init=nowhere"),
    ({"checks.labels": "nowhere"}, InputError, "there is no folder nowhere"),
    ({"checks.images": 1}, UsageError, "checks.images=1"),
    ({"checks.neighbors": 0}, UsageError, "checks.neighbors=0"),
    ({"clusters.sample": 1}, UsageError, "clusters.sample=1: too few"),
    ({"clusters.rounds": 0}, UsageError, "clusters.rounds=0"),
    ({"student.base_share": 2}, UsageError, "student.base_share=2"),
    ({"student.hidden": 0}, UsageError, "student.hidden=0"),
    ({"clusters.k": 30}, DataError, "of 160 images at most 10 clusters can have 16 .*lower one of the two"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "kind", "said"), LATE, ids=lambda value: str(value)[:60])
def test_what_fails_in_a_later_stage_is_refused_before_anything_is_begun(
    photos: Path, tmp_path: Path, wrong: dict[str, Any], kind: type[Error], said: str
) -> None:
    options = {key: value for key, value in TINY.items() if not (key.startswith("clusters") and "recipe" in wrong)}
    with pytest.raises(kind, match=said):
        run_plan.prepare_run(photos, tmp_path / "run", {**options, "epochs": 1, **wrong})
    assert not (tmp_path / "run").exists()


def test_a_plan_refuses_it_too(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"{key}={value}" for key, value in TINY.items()]
    code, line = told(
        ["run", str(photos), f"out={tmp_path / 'run'}", *words, "expert.options.dim=32", "--plan"], capsys
    )
    assert code == 64 and "expert.start=base" in line


def test_a_base_of_another_run_has_to_fit_the_experts(photos: Path, tmp_path: Path) -> None:
    divcon.run(photos, out=tmp_path / "base", **{**STEPS, "epochs": 0.1})
    options = {**TINY, "base": str(tmp_path / "base")}
    assert run_plan.prepare_run(photos, tmp_path / "run", options).base == tmp_path / "base/base"
    with pytest.raises(UsageError, match=r"expert.start=base, but this network"):
        run_plan.prepare_run(photos, tmp_path / "run", {**options, "dim": 32})


def test_what_fits_is_not_refused(photos: Path, tmp_path: Path) -> None:
    for right in (
        {"expert.options.dim": 32, "expert.start": "scratch"},  # teachers are met at the pool
        {"student.encoder.name": "slim10", "student.start": "scratch"},
        {"student.layer": "projection"},
        {"student.layer": "projection", "student.teacher_view": "center"},
        {"clusters.k": 10},
    ):
        assert run_plan.prepare_run(photos, tmp_path / "run", {**TINY, **right}).recipe


def test_a_cluster_that_no_expert_can_be_trained_on_is_merged(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "divcon")
    options = {**TINY, "epochs": 1, "clusters.k": 10, "clusters.smallest": 1}
    assert divcon.run(photos, out=tmp_path / "run", **options).done
    clusters = Clusters.load(tmp_path / "run/clusters")
    assert "were merged" in caplog.text and 1 < clusters.k < 10 and min(clusters.sizes) >= 16
    assert "clusters.smallest 16: an expert needs so many images" in caplog.text
    assert RunRecord.read(tmp_path / "run").options["clusters.smallest"] == 16


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_the_batch_of_an_expert_can_be_shared_by_all_ranks(ranks: int) -> None:
    for n in (16, 17, 41, 99, 131):
        batch = fitting_batch(30, n, ranks)
        assert batch % ranks == 0 and ranks <= batch <= max(ranks, n // 8)


def test_two_four_and_eight_ranks_see_the_same_batches() -> None:
    for n in (64, 131, 999, 2000):
        assert len({fitting_batch(256, n, ranks) for ranks in (2, 4, 8)}) == 1
    assert fitting_batch(256, 999, 2) == 120 and fitting_batch(256, 999) == 124, "one rank keeps a whole eighth"


def test_a_batch_that_no_ranks_can_share_is_refused_before_the_base(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"student.batch_size=16: it can't be shared by 3 ranks"):
        run_plan.prepare_run(photos, tmp_path / "run", {**TINY, "batch_size": 12, "student.batch_size": 16, "ranks": 3})


def test_a_demo_that_can_not_be_scored_is_refused_before_it_is_trained(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "pile").mkdir()
    (tmp_path / "pile/only").symlink_to(next(photos.iterdir()))
    with pytest.raises(DataError, match="classes"):
        demo(data=tmp_path / "pile", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_message_names_three_things_and_how_many_more_there_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    many = [f"experts/{i}" for i in range(300)]
    assert few(many) == "experts/0, experts/1, experts/2, and 297 more" and few(many[:3]) == ", ".join(many[:3])
    assert len(unknown_name("stage", "nose", many)) < 100
    with pytest.raises(UsageError) as wrong:
        validate_fields(
            Options, {name: {} for name in ("size", "seed", "mean", "std", "limit", "encoder", "batch_size")}
        )
    assert str(wrong.value).count("=") < 8 and "more" in str(wrong.value)
    RunRecord({}, {}, {}, "", 9, ["base", *many, "student"], "student").write(tmp_path)
    with pytest.raises(UsageError) as wrong:
        forget_stages(tmp_path, "nose")
    assert len(str(wrong.value)) < len(str(tmp_path)) + 120
    write_json(tmp_path / "base/stage.json", {"sha256": {f"{i}.bin": "0" * 64 for i in range(300)}})
    with pytest.raises(DamagedError) as damaged:
        verify_stage(tmp_path, "base")
    assert len(str(damaged.value)) < 1000 and "and 297 more" in str(damaged.value)
    caplog.set_level(logging.INFO, "divcon")
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.zeros(1000, np.int64), np.arange(302)])
    Clusters(rng.random((302, 8), np.float32), labels, np.zeros(len(labels), np.float32), lambda at: []).merge_small(16)
    assert "301 of 302 clusters" in caplog.text and len(caplog.messages[-1]) < 200
