"""Clusters against labels, as table 6 of the paper has them; each number beside scikit-learn's, a slow loop or a known table."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import slow
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import mutual_info_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix
from test_evals import digits, normal, one_thread  # noqa: F401 - fixtures
from test_kept_scores import finished_copy
from test_pipeline import typed
from test_tasks import digit_trial, trial  # noqa: F401 - a fixture
from torch import Tensor, nn

import divcon
from divcon.clustering.kmeans import kmeans
from divcon.errors import DataError
from divcon.evals.parts import Parts
from divcon.evals.tasks.clusters import Clusters
from divcon.evals.tasks.contract import Trial
from divcon.nets.net import Net
from divcon.runs.evals import kept_scores


class Pool(nn.Module):
    num_features = 64


class Model:
    """The part of a trained network that names its layers."""

    def __init__(self, hidden: int = 0, dim: int = 0):
        self.net = Net(Pool(), hidden=hidden, dim=dim)


def random_parts(k: int, classes: int, n: int = 400, seed: int = 0) -> Parts:
    """Parts that know something of the classes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, 2 * n)
    part = np.where(rng.random(2 * n) < 0.4, y % k, rng.integers(0, k, 2 * n))
    return Parts(*(torch.from_numpy(values) for values in (part[:n], y[:n], part[n:], y[n:])))


def known(
    train: list[int], train_y: list[int], test: list[int] | None = None, test_y: list[int] | None = None
) -> Parts:
    values = (train, train_y, test or train, test_y or train_y)
    return Parts(*(torch.tensor(each) for each in values))


# parts and classes


@pytest.mark.parametrize(("k", "classes"), [(5, 3), (3, 8), (40, 10), (2, 2)])
def test_the_numbers_are_those_of_scikit_learn(k: int, classes: int) -> None:
    parts = random_parts(k, classes)
    assert parts.bits == pytest.approx(mutual_info_score(parts.train_y, parts.train) / math.log(2), abs=1e-9)
    assert parts.normalized == pytest.approx(normalized_mutual_info_score(parts.train_y, parts.train), abs=1e-9)
    table = contingency_matrix(parts.train, parts.train_y)
    assert parts.purity == pytest.approx(table.max(1).sum() / table.sum())
    assert parts.together == pytest.approx((table.max(0) / table.sum(0)).mean())


@pytest.mark.parametrize(("k", "classes"), [(5, 3), (3, 8), (40, 10)])
def test_the_accuracy_is_that_of_the_loop(k: int, classes: int) -> None:
    parts = random_parts(k, classes)
    told = slow.majority_classes(parts.train.tolist(), parts.train_y.tolist(), parts.test.tolist())
    assert parts.predicted.tolist() == told
    assert parts.top1 == pytest.approx(np.mean([a == b for a, b in zip(told, parts.test_y.tolist())]))


def test_parts_that_are_the_classes_by_other_names_are_perfect() -> None:
    parts = known([3, 1, 0, 2] * 5, [0, 1, 2, 3] * 5)
    assert parts.bits == pytest.approx(2) and parts.normalized == pytest.approx(1)
    assert parts.top1 == parts.purity == parts.together == 1


def test_halves_of_classes_are_pure_and_pairs_of_classes_are_together() -> None:
    halves = known([0, 1, 2, 3] * 3, [0, 0, 1, 1] * 3)
    assert (halves.top1, halves.purity, halves.together) == (1, 1, 0.5) and halves.bits == pytest.approx(1)
    pairs = known([0, 0, 1, 1] * 3, [0, 1, 2, 3] * 3)
    assert (pairs.top1, pairs.purity, pairs.together) == (0.5, 0.5, 1) and pairs.bits == pytest.approx(1)


def test_a_single_part_says_nothing() -> None:
    parts = known([0] * 6, [0, 0, 0, 1, 1, 2])
    assert parts.bits == parts.normalized == 0 and parts.top1 == 0.5 and parts.together == 1


def test_of_equal_classes_the_first_one_is_told_whatever_the_order_of_the_images() -> None:
    for order in ([1, 2, 2, 1], [2, 1, 1, 2]):
        assert known([0] * 4, order, [0, 0], [2, 1]).predicted.tolist() == [1, 1]


def test_a_class_or_part_without_training_images_is_no_obstacle() -> None:
    parts = known([0, 0, 2], [1, 1, 3], [2, 0, 0], [3, 0, 1])
    assert parts.predicted.tolist() == [3, 1, 1] and parts.together == 1 and parts.top1 == pytest.approx(2 / 3)


def test_parts_at_random_have_the_same_sizes_and_know_nothing() -> None:
    parts = known([0] * 300 + [1] * 200 + [2] * 100, [0] * 300 + [1] * 200 + [2] * 100)
    draws = [parts.at_random(0, draw) for draw in range(20)]
    for drawn in draws:
        assert torch.equal(torch.bincount(drawn.train), torch.bincount(parts.train))
        assert torch.equal(torch.bincount(drawn.test), torch.bincount(parts.test))
    assert len({tuple(drawn.train.tolist()) for drawn in draws}) == 20
    assert np.mean([drawn.top1 for drawn in draws]) == pytest.approx(0.5, abs=0.03)
    # the mean of 2 n ln 2 bits is the number of degrees of freedom, (3 - 1) (3 - 1), if parts and classes are independent
    assert np.mean([drawn.bits for drawn in draws]) == pytest.approx(4 / (2 * 600 * math.log(2)), rel=0.6)
    assert torch.equal(parts.at_random(3, 1).train, parts.at_random(3, 1).train)


# the task


def with_layers(of: Trial, **layers: Tensor) -> Trial:
    """The trial, of a net with these layers besides the pool."""
    pool = of.features
    return replace(
        of,
        model=Model(16 if "hidden" in layers else 0, 8 if layers else 0),
        encode=lambda layer: layers.get(layer, pool),
    )


@pytest.fixture
def layered(digit_trial: Trial) -> Trial:  # noqa: F811
    """Digits, with noise for a hidden layer, and their classes for a projection."""
    n = len(digit_trial.labels)
    one_hot = torch.eye(10)[torch.from_numpy(digit_trial.labels)] + 0.01 * normal(n, 10)
    return with_layers(digit_trial, hidden=normal(n, 16), projection=one_hot)


def test_a_row_is_told_for_each_layer_and_number_of_clusters(layered: Trial) -> None:
    found = Clusters(numbers=(5, 70, 80), per_class=(3, 20)).score(layered)
    rows = {(row["features"], row["clusters"]): row for row in found.table}
    numbers = (5, 10, 30, 70)  # 80 and 200 are too many for 300 images
    assert list(rows) == [(layer, k) for layer in ("pool", "hidden", "projection") for k in numbers]
    assert found.metric == "top-1 of 10 clusters of the pool" and found.score == rows["pool", 10]["top-1"]
    assert found.more["balanced"] == pytest.approx(np.mean(list(found.per_class.values())))
    assert rows["projection", 10]["top-1"] == 1 and rows["projection", 10]["bits"] > 3.2
    for k in numbers:
        assert rows["hidden", k]["top-1"] == pytest.approx(rows["hidden", k]["by chance"], abs=0.07)
        assert rows["hidden", k]["bits"] == pytest.approx(rows["hidden", k]["bits by chance"], rel=0.3)
        assert rows["pool", k]["top-1"] > rows["pool", k]["by chance"] + 0.2
        assert rows["pool", k]["bits"] > 1.5 * rows["pool", k]["bits by chance"]


def test_test_images_go_to_the_nearest_cluster_of_training_images(digit_trial: Trial) -> None:  # noqa: F811
    digit_trial = with_layers(digit_trial)
    found = Clusters(numbers=(), per_class=()).score(digit_trial)
    x, y, train, test = digit_trial.features, digit_trial.labels, digit_trial.train, digit_trial.test
    fit = kmeans(x[train], 10, seed=0)
    near, _ = slow.nearest_centroids(x[test].double().numpy(), fit.centroids.double().numpy(), True)
    told = slow.majority_classes(fit.labels.tolist(), y[train].tolist(), near)
    assert found.score == pytest.approx(np.mean(np.array(told) == y[test]))


def test_the_clusters_are_about_as_pure_as_scikit_learns(digit_trial: Trial) -> None:  # noqa: F811
    digit_trial = with_layers(digit_trial)
    (row,) = Clusters(numbers=(), per_class=()).score(digit_trial).table
    unit = nn.functional.normalize(digit_trial.features[digit_trial.train], dim=1).numpy()
    theirs = KMeans(10, n_init=10, random_state=0).fit_predict(unit)
    y = digit_trial.labels[digit_trial.train]
    assert row["purity"] == pytest.approx(contingency_matrix(theirs, y).max(1).sum() / len(y), abs=0.1)
    assert row["bits"] == pytest.approx(mutual_info_score(y, theirs) / math.log(2), abs=0.3)


def test_images_that_are_too_alike_for_the_clusters_are_refused_or_leave_a_row_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    y = np.tile(np.arange(4), 20)
    alike = with_layers(trial(torch.eye(4)[torch.from_numpy(y)], y, 60))
    with caplog.at_level("INFO", "divcon"):
        found = Clusters(numbers=(8,), per_class=()).score(alike)
    assert [row["clusters"] for row in found.table] == [4] and found.score == 1 and "no 8 clusters" in caplog.text
    with pytest.raises(DataError, match="too few different training images for 4 clusters"):
        Clusters().score(with_layers(trial(torch.ones(80, 3), y, 60)))


# of a model


SMALL = {"clusters.numbers": [3], "clusters.per_class": []}


def test_each_layer_of_a_run_is_told_and_the_whitened_pool_first(photos: Path, tmp_path: Path) -> None:
    run = finished_copy(photos, tmp_path)
    base = run / "base"
    answer = divcon.evaluate(base, photos, tasks="clusters", settings=SMALL)
    found = answer.tasks["clusters"]
    layers = list(dict.fromkeys(row["features"] for row in found.table))
    assert layers == ["whitened pool", "pool", "hidden", "projection"]
    raw = divcon.evaluate(base, photos, tasks="clusters", settings=SMALL, whiten=False).tasks["clusters"]
    assert raw.table == [row for row in found.table if row["features"] != "whitened pool"]
    assert raw.metric.endswith("clusters of the pool") and found.metric.endswith("clusters of the whitened pool")
    hidden = divcon.evaluate(base, photos, tasks="clusters", settings=SMALL, layer="hidden").tasks["clusters"]
    assert [row for row in hidden.table if row["features"] == "hidden"] == hidden.table[:2]
    assert hidden.table[:2] == [row for row in found.table if row["features"] == "hidden"]
    assert answer in [kept.scores for kept in kept_scores(run)], "a table is kept, and read back as it was"


def test_a_model_with_a_pool_only_has_rows_of_the_pool(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["eval", "random:slim10_w8", str(photos), "tasks=clusters", "clusters.numbers=[3]", "clusters.per_class=[]"]
    assert typed([*words, "--json"]) == 0
    table = json.loads(capsys.readouterr().out)["tasks"]["clusters"]["table"]
    assert [row["features"] for row in table] == ["pool"] * 2
    assert typed(words) == 0
    shown = capsys.readouterr().out.splitlines()
    head = next(i for i, line in enumerate(shown) if line.startswith("features"))
    assert "class together" in shown[head] and shown[head + 1].split()[:3] == ["pool", "3", f"{table[0]['top-1']:.3f}"]
