"""Scores that need no labels, as tasks of `divcon eval`; test_report_parts and test_evals have the oracles of their measures."""

import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import slow
import torch
from test_clusters_and_labels import with_layers
from test_evals import normal, one_thread  # noqa: F401 - a fixture
from test_kept_scores import finished_copy
from test_low_shot import UNTRAINED, photo_trial  # noqa: F401 - a fixture
from test_pipeline import typed
from test_tasks import trial

import divcon
from divcon.data.labeled import unlabeled
from divcon.data.labeled.unlabeled import open_unlabeled
from divcon.errors import DataError, UsageError
from divcon.evals.expert_check import two_views
from divcon.evals.tasks.contract import Trial
from divcon.evals.tasks.registry import DEFAULTS, all_tasks, chosen_tasks
from divcon.evals.tasks.unlabeled import EffectiveRank, NumberOfClusters, ViewsAgreement
from divcon.nets.whitening import Whitening
from divcon.runs.evals import kept_scores


def without_labels(x: torch.Tensor, **layers: torch.Tensor) -> Trial:
    return with_layers(trial(x, np.zeros(0, np.int64), len(x), ["no class"]), **layers)


@pytest.fixture
def flat(photos: Path, tmp_path: Path) -> Path:
    """The photos in one folder."""
    folder = tmp_path / "flat"
    folder.mkdir()
    for path in photos.glob("*/*"):
        shutil.copy(path, folder / f"{path.parent.name}-{path.name}")
    return folder


# effective rank


def test_the_rank_of_each_layer_is_that_of_its_known_matrix() -> None:
    orthogonal, _ = torch.linalg.qr(normal(40, 6))
    lines = normal(40, 1) @ normal(1, 16)
    equal_and_halved = torch.cat([orthogonal[:, :2], 0 * orthogonal[:, 2:]], 1)
    found = EffectiveRank().score(without_labels(orthogonal, hidden=lines, projection=equal_and_halved))
    ranks = {row["features"]: (row["width"], row["effective rank"], row["share"]) for row in found.table}
    assert ranks["pool"] == (6, pytest.approx(6), pytest.approx(1)) and found.score == ranks["pool"][2]
    assert ranks["hidden"] == (16, pytest.approx(1, abs=1e-3), pytest.approx(1 / 16, abs=1e-4))
    assert ranks["projection"] == (6, pytest.approx(2, abs=1e-3), pytest.approx(1 / 3, abs=1e-3))


def test_of_fewer_images_than_features_the_rank_is_a_share_of_the_images() -> None:
    (row,) = EffectiveRank().score(without_labels(torch.eye(5, 30))).table
    assert row["effective rank"] == pytest.approx(5) and row["share"] == pytest.approx(1)


# the neighbors of two views


def test_agreement_is_that_of_the_loop_for_raw_and_whitened_features(photo_trial: Trial) -> None:  # noqa: F811
    white = replace(photo_trial, whitening=Whitening.fit(photo_trial.features))
    found = ViewsAgreement(images=40, neighbors=5).score(white)
    positions = np.linspace(0, 159, 40).astype(np.int64)
    views = two_views(white.model, white.pixels, positions, white.machine, 0)
    for row, kind in zip(found.table, white.compared(), strict=True):
        a, b = (kind.of(view).double().numpy() for view in views)
        assert row["agreement"] == pytest.approx(slow.neighbor_agreement(a, b, 5), abs=0.011), kind.name
        assert row["by chance"] == pytest.approx(5 / 39)
    assert [row["features"] for row in found.table] == ["whitened pool", "pool"]
    assert found.score == found.table[0]["agreement"] and found.metric == "agreement by the whitened pool"


def test_few_images_have_no_agreement(photo_trial: Trial) -> None:  # noqa: F811
    few = replace(photo_trial, images=photo_trial.images.subset(np.arange(19)))
    with pytest.raises(DataError, match="19 images"):
        ViewsAgreement().score(few)


# the number of clusters


def planted(k: int, n: int = 300) -> torch.Tensor:
    centers = torch.eye(k, 8) * 4
    return centers[torch.arange(n) % k] + 0.3 * normal(n, 8)


def test_the_number_that_was_planted_stands_out_and_each_has_its_evidence() -> None:
    found = NumberOfClusters().score(without_labels(planted(4)))
    assert found.chosen == {"clusters": 4} and found.metric == "silhouette of the clusters of the pool that stand out"
    rows = {row["clusters"]: row for row in found.table}
    assert list(rows) == [2, 3, 4, 5, 6, 8, 10] and rows[4]["smallest"] == 75
    assert found.score == rows[4]["silhouette"] > 0.8 and found.more == {"stability": 1.0}
    assert all(set(row) == {"clusters", "silhouette", "stability", "smallest"} for row in found.table)


def test_noise_is_told_with_its_evidence_and_without_a_number() -> None:
    found = NumberOfClusters().score(without_labels(normal(300, 24)))
    assert found.score is None and "no number of clusters of the pool" in found.reason and len(found.table) == 7


def test_too_few_or_equal_images_have_no_number_of_clusters() -> None:
    for x in (normal(59, 4), torch.ones(300, 4)):
        with pytest.raises(DataError, match="too few, or too alike"):
            NumberOfClusters().score(without_labels(x))


# tasks for images of any kind


def test_a_task_without_labels_fits_images_of_any_kind_and_one_name_stands_for_all() -> None:
    names = list(DEFAULTS["none"])
    assert [name for name, task in all_tasks().items() if task.truth == "none"] == sorted(
        names, key=list(all_tasks()).index
    )
    for truth in DEFAULTS:
        assert list(chosen_tasks("unlabeled", truth)) == names
    assert list(chosen_tasks("knn,unlabeled,rankme", "classes")) == ["knn", *names]
    assert list(chosen_tasks(None, "none")) == names
    with pytest.raises(UsageError, match="knn is for images that have one class each, and these have no labels"):
        chosen_tasks("knn", "none")


def test_a_folder_without_classes_is_scored_and_its_scores_are_kept(
    flat: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_copy(photos, tmp_path)
    with pytest.raises(DataError, match="type tasks=unlabeled"):
        divcon.evaluate(run, flat)
    words = ["eval", str(run), str(flat), "tasks=unlabeled", "agreement.images=50"]
    assert typed([*words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert list(answer["tasks"]) == list(DEFAULTS["none"]) and (answer["images"], answer["test"]) == (160, 0)
    (kept,) = kept_scores(run)
    assert json.loads(json.dumps(kept.scores.as_json())) == answer
    assert typed(words) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("(160 images)") and "class" not in shown
    for title in ("effective rank", "by chance", "silhouette  stability  smallest"):
        assert title in shown


def test_labels_change_no_score_that_needs_none(flat: Path, photos: Path) -> None:
    settings = {"number_of_clusters.images": 100}
    alone = divcon.evaluate(UNTRAINED, flat, tasks="rankme,number_of_clusters", settings=settings).tasks
    beside = divcon.evaluate(UNTRAINED, photos, tasks="knn,rankme,number_of_clusters", settings=settings)
    assert beside.tasks == alone and beside.knn is not None


def test_a_large_collection_is_sampled_and_what_is_left_out_is_counted(
    flat: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unlabeled, "SAMPLE", 50)
    data = open_unlabeled(flat, cache=cache)
    assert len(data.images) == len(data.train) == 50 and data.left_out == {"not_in_the_sample": 110}
    assert len(set(data.images.names(np.arange(50)))) == 50
    answer = divcon.evaluate(UNTRAINED, flat, tasks="rankme")
    assert answer.images == 50 and answer.left_out == {"not_in_the_sample": 110}


def test_tar_shards_have_the_scores_of_their_images(flat: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "shard-0.tar", "w") as shard:
        shard.add(flat, "photos")
    of_shards = divcon.evaluate(UNTRAINED, str(tmp_path / "shard-{0..0}.tar"), tasks="unlabeled")
    assert of_shards.tasks == divcon.evaluate(UNTRAINED, flat, tasks="unlabeled").tasks


def test_one_image_has_nothing_to_be_compared_with(photos: Path, cache: Path, tmp_path: Path) -> None:
    shutil.copy(next(photos.glob("*/*")), tmp_path)
    with pytest.raises(DataError, match="1 image; there is nothing to compare"):
        open_unlabeled(tmp_path, cache=cache)


def test_more_neighbors_than_the_sample_has_are_refused_with_what_to_type() -> None:
    with pytest.raises(UsageError, match=r"agreement\.neighbors=50: .* type agreement\.images=52"):
        chosen_tasks("agreement", "none", {"agreement.images": 20, "agreement.neighbors": 50})


def test_a_misspelled_group_of_tasks_is_told_the_group() -> None:
    with pytest.raises(UsageError, match="did you mean 'unlabeled'"):
        chosen_tasks("unlabelled", None)


@pytest.mark.parametrize("name", ["rankme", "number_of_clusters", "clusters", "few_shot"])
def test_features_that_are_not_finite_are_told_by_each_task(name: str) -> None:
    x = normal(80, 6)
    x[3] = torch.nan
    with pytest.raises(DataError, match=r"image 3 are not finite numbers .* has the training diverged"):
        all_tasks()[name].score(with_layers(trial(x, np.arange(80) % 2, 60, ["a", "b"])))


def test_a_split_that_would_mean_nothing_is_refused(photos: Path) -> None:
    with pytest.raises(UsageError, match="split=: scores that need no labels are of all images; leave split= away"):
        divcon.evaluate(UNTRAINED, photos, tasks="unlabeled", split="train,val")


def test_an_empty_list_of_tasks_is_refused(photos: Path) -> None:
    for none in ((), [], ""):
        with pytest.raises(UsageError, match="tasks= names no task"):
            divcon.evaluate(UNTRAINED, photos, tasks=none)  # type: ignore[arg-type]
