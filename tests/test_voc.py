"""Images with several classes each, in the layout of PASCAL VOC; average precision, SVMs and logistic regressions beside oracles."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import slow
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, precision_recall_curve
from sklearn.svm import LinearSVC
from test_evals import normal, one_thread  # noqa: F401 - fixtures
from test_pipeline import typed
from test_tasks import trial
from torch import Tensor

import divcon
from divcon.data.labeled.voc import LabelSets, is_voc, open_voc
from divcon.errors import DataError, UsageError
from divcon.evals.average_precision import average_precision, each_average_precision, mean_scores
from divcon.evals.split import train_test_split
from divcon.evals.svm import SvmProblem, svm_scores
from divcon.evals.tasks.contract import Trial
from divcon.evals.tasks.few_shot_svm import FewShotSvm, drawn
from divcon.evals.tasks.one_vs_rest import OneVsRest, fit_binary, margins
from divcon.evals.tasks.svm import Svm, folds

UNTRAINED = "random:slim10_w8"
ONE = "<object><name>{}</name><difficult>{}</difficult></object>"

# average precision


@pytest.mark.parametrize("levels", [1000, 7, 1])
def test_average_precision_is_that_of_the_loop(levels: int) -> None:
    rng = np.random.default_rng(levels)
    for n in (1, 2, 30, 200):
        scores, truth = rng.integers(0, levels, n) / levels, rng.random(n) < 0.3
        truth[rng.integers(n)] = True
        for points in (None, 11):
            assert average_precision(scores, truth, points=points) == pytest.approx(
                slow.average_precision(scores.tolist(), truth.tolist(), points)
            )


def test_average_precision_is_the_area_under_the_envelope_of_scikit_learns_curve() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(300) < 0.2
    scores = rng.normal(size=300) + truth
    precision, recall, _ = precision_recall_curve(truth, scores)
    envelope = np.maximum.accumulate(precision)  # recall falls along the curve
    ours = average_precision(scores, truth)
    assert ours == pytest.approx(float(-(np.diff(recall) * envelope[:-1]).sum()))
    assert average_precision_score(truth, scores) <= ours <= average_precision_score(truth, scores) + 0.1


def test_a_perfect_order_has_precision_1_and_the_order_of_equals_changes_nothing() -> None:
    truth = np.array([True, False, True, False])
    for points in (None, 11):
        assert average_precision(np.array([3.0, 1, 2, 0]), truth, points=points) == 1
        assert average_precision(np.zeros(4), truth, points=points) == 0.5
        assert average_precision(np.zeros(4), truth[::-1], points=points) == 0.5


def test_what_is_hard_to_say_does_not_count_and_a_class_without_an_image_has_no_score() -> None:
    scores = np.array([[3.0, 1], [2, 1], [1, 1]])
    labels = np.array([[-1, 0], [1, -1], [0, 0]])
    assert each_average_precision(scores, labels) == [1.0, None]
    found = mean_scores(scores, labels, ["cat", "dog"], {})
    assert (found.score, found.per_class) == (1.0, {"cat": 1.0, "dog": None})
    with pytest.raises(DataError, match="no class has a test image"):
        mean_scores(scores, np.zeros((3, 2)), ["cat", "dog"], {})


# SVMs and logistic regressions


@pytest.fixture(scope="module")
def sets() -> tuple[Tensor, Tensor]:
    """Features of norm 1, and signs of three classes, the last of which is rare."""
    x = F.normalize(normal(240, 12) + 0.5, dim=1)
    lean = x @ normal(12, 3, seed=1) + 0.2 * normal(240, 3, seed=2)
    return x, torch.where(lean > lean.quantile(torch.tensor([0.5, 0.7, 0.9]), 0).diagonal(), 1.0, -1.0)


def test_svms_are_those_of_scikit_learn(sets: tuple[Tensor, Tensor]) -> None:
    x, signs = sets
    costs = (0.1, 1.0, 10.0)
    for cost, ours in zip(costs, SvmProblem(x, signs, 2.0).path(costs), strict=True):
        for label in range(3):
            theirs = LinearSVC(C=cost, class_weight={1: 2, -1: 1}, dual=False, tol=1e-8, max_iter=10_000)
            theirs.fit(x.numpy(), signs[:, label].numpy())
            weights = np.append(theirs.coef_[0], theirs.intercept_)
            assert ours[label].numpy() == pytest.approx(weights, abs=1e-3 * np.abs(weights).max())
            decided = svm_scores(ours, x)[:, label].numpy()
            assert decided == pytest.approx(theirs.decision_function(x.numpy()), abs=1e-3 * np.abs(decided).max())


def test_the_gradient_of_the_loss_of_svms_is_the_one_that_torch_finds(sets: tuple[Tensor, Tensor]) -> None:
    x, signs = sets
    weights = normal(3, 13, seed=3).double().requires_grad_()
    lean = torch.cat([x, torch.ones(240, 1)], 1).double() @ weights.T
    each = torch.where(signs > 0, 2.0, 1.0) * (1 - signs * lean).clamp(min=0) ** 2
    loss = (weights.square().sum() / 2 + 5.0 * each.sum()) / (5.0 * 240)
    (gradient,) = torch.autograd.grad(loss, weights)
    ours = SvmProblem(x, signs, 2.0).loss(weights.detach(), 5.0)
    assert ours[0] == pytest.approx(loss.item()) and torch.allclose(ours[1], gradient)


def test_a_binary_classifier_is_scikit_learns(sets: tuple[Tensor, Tensor]) -> None:
    x, signs = sets
    for penalty in (1e-3, 1e-1):
        model = LogisticRegression(C=1 / (penalty * len(x)), tol=1e-8, max_iter=10_000).fit(x, signs[:, 2])
        ours = margins(fit_binary(x, (signs[:, 2] > 0).long(), penalty), x)
        assert ours == pytest.approx(model.decision_function(x), abs=2e-3)


def test_folds_are_parts_of_one_size_by_the_seed() -> None:
    fold = folds(31, 3, 0)
    assert sorted(np.bincount(fold)) == [10, 10, 11] and not np.array_equal(fold, folds(31, 3, 1))


def sets_trial(sets: tuple[Tensor, Tensor]) -> Trial:
    labels = (sets[1] > 0).long()
    labels[200:204, 0] = -1
    return trial(sets[0], labels.numpy(), 160, ["cat", "dog", "rare"])


def test_both_classifiers_rank_what_can_be_told(sets: tuple[Tensor, Tensor]) -> None:
    share = float((sets[1][160:] > 0).double().mean())
    for task, metric in ((Svm(costs=(0.1, 10.0)), "mAP"), (OneVsRest(penalties=(1e-4, 1e-2)), "mAP (11 points)")):
        found = task.score(sets_trial(sets))
        assert found.metric == metric and found.score == found.more[metric] > share + 0.3
        assert found.score == pytest.approx(np.mean(list(found.per_class.values())))
        assert len(found.chosen) == 3 and found == task.score(sets_trial(sets))


def test_a_draw_has_k_images_of_a_class_and_the_same_share_of_others_and_a_larger_draw_has_these_too() -> None:
    has = (np.random.default_rng(0).random(60) < 0.2).astype(np.int64)
    few, more = drawn(has, 2, 5, (0, 1, 3)), drawn(has, 4, 5, (0, 1, 3))
    assert (np.bincount(has[few]).tolist(), np.bincount(has[more]).tolist()) == ([8, 2], [16, 4])
    assert set(few) < set(more) and (np.diff(few) > 0).all()
    assert np.array_equal(drawn(has, 100, 5, (0, 1, 3)), np.arange(60)), "a class with fewer images gives all of them"
    assert len({tuple(drawn(has, 2, 5, (0, draw, 3))) for draw in range(5)}) == 5


def test_few_images_are_learned_as_scikit_learns_svms_learn_them(sets: tuple[Tensor, Tensor]) -> None:
    its = sets_trial(sets)
    found = FewShotSvm(shots=(1, 6), draws=2).score(its)
    x, test = sets[0].numpy(), its.test
    for k in (1, 6):
        means = []
        for draw in range(2):
            scores = np.empty((len(test), 3))
            for label in range(3):
                has = (its.labels[its.train, label] == 1).astype(np.int64)
                rows = drawn(has, k, 3, (0, draw, label))
                theirs = LinearSVC(C=1.0, class_weight={1: 2, 0: 1}, dual=False, tol=1e-8, max_iter=10_000)
                scores[:, label] = theirs.fit(x[rows], has[rows]).decision_function(x[test])
            means.append(np.mean(each_average_precision(scores, its.labels[test])))
        title = "1 image a class" if k == 1 else "6 images a class"
        assert found.more[title] == pytest.approx(np.mean(means), abs=0.01)
        assert found.more[f"{title}, spread"] == pytest.approx(np.std(means, ddof=1), abs=0.01)
    assert found.metric == "mAP from 6 images a class" and found.score == found.more["6 images a class"]


# the layout


def write_voc(
    photos: Path, root: Path, parts: dict[str, Sequence[int]], *, lists: bool = True, annotations: bool = False
) -> Path:
    """Photos in the layout of VOC, with the classes `disc` and `other`, and `large` for every second one: 30 of them."""
    (root / "JPEGImages").mkdir(parents=True)
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "Annotations").mkdir()
    paths = [
        path
        for i in range(6)
        for path in (sorted(photos.glob("disc/*"))[i * 2 : i * 2 + 2] + others(photos)[i * 3 : i * 3 + 3])
    ]
    for i, path in enumerate(paths):
        shutil.copy(path, root / "JPEGImages" / f"{i:04}{path.suffix}")
    classes = {"disc": [path.parent.name == "disc" for path in paths], "large": [i % 2 == 0 for i in range(30)]}
    classes["other"] = [not disc for disc in classes["disc"]]
    for part, ids in parts.items():
        (root / "ImageSets" / "Main" / f"{part}.txt").write_text("".join(f"{i:04}\n" for i in ids))
        for name, has in classes.items() if lists else ():
            lines = [f"{i:04} {' 1' if has[i] else '-1'}\n" for i in ids]
            (root / "ImageSets" / "Main" / f"{name}_{part}.txt").write_text("".join(lines))
    for i in range(30) if annotations else ():
        objects = "".join(ONE.format(name, 0) for name, has in classes.items() if has[i])
        (root / "Annotations" / f"{i:04}.xml").write_text(f"<annotation>{objects}</annotation>")
    return root


def others(photos: Path) -> list[Path]:
    return sorted(path for path in photos.glob("*/*") if path.parent.name != "disc")


def rows(data: LabelSets) -> dict[str, list[int]]:
    names = data.images.names(np.arange(len(data.images)))
    return {Path(name.decode()).stem: row for name, row in zip(names, data.labels.tolist(), strict=True)}


PARTS = {"train": range(10), "val": range(10, 20), "trainval": range(20), "test": range(20, 30)}


def test_lists_and_annotations_say_the_same(photos: Path, cache: Path, tmp_path: Path) -> None:
    by_lists = open_voc(write_voc(photos, tmp_path / "a", PARTS), cache=cache)
    by_objects = open_voc(write_voc(photos, tmp_path / "b", PARTS, lists=False, annotations=True), cache=cache)
    assert by_lists.classes == by_objects.classes == ["disc", "large", "other"]
    assert rows(by_lists) == rows(by_objects) and rows(by_lists)["0000"] == [1, 1, 0]
    assert by_lists.fingerprint == by_objects.fingerprint
    assert (len(by_lists.train), len(by_lists.test), by_lists.left_out["train_and_test"]) == (20, 10, 0)


def test_the_parts_are_those_that_have_labels_or_those_that_are_typed(
    photos: Path, cache: Path, tmp_path: Path
) -> None:
    root = write_voc(photos, tmp_path / "voc", {name: PARTS[name] for name in ("train", "val", "trainval")})
    (root / "ImageSets" / "Main" / "test.txt").write_text("0020\n")  # without labels, as of a competition
    assert open_voc(root, cache=cache).layout.as_dict() == {"train": ["train"], "test": ["val"], "left_out": []}
    swapped = open_voc(root, split="val,train", cache=cache)
    assert set(rows(swapped)) == {f"{i:04}" for i in range(20)} and swapped.layout.train == ("val",)
    for wrong in ("train,test", "train", "train,train", "../train,val"):
        with pytest.raises(UsageError, match="two lists"):
            open_voc(root, split=wrong, cache=cache)


def test_one_list_is_split_by_the_seed(photos: Path, cache: Path, tmp_path: Path) -> None:
    data = open_voc(write_voc(photos, tmp_path / "voc", {"trainval": range(30)}), cache=cache)
    train, test, dropped = train_test_split(data, 0)
    assert (len(train), len(test), dropped) == (21, 9, []) and sorted([*train, *test]) == list(range(30))
    assert not np.array_equal(train, train_test_split(data, 1)[0])


def test_difficult_objects_copies_and_missing_images(photos: Path, cache: Path, tmp_path: Path) -> None:
    root = write_voc(photos, tmp_path / "voc", PARTS, lists=False, annotations=True)
    picture = next((root / "JPEGImages").glob("0003*"))
    shutil.copy(picture, root / "JPEGImages" / f"0025{picture.suffix}")  # now in trainval and in test
    next((root / "JPEGImages").glob("0004*")).unlink()
    objects = {
        "0005": [("disc", 1)],
        "0006": [("disc", 1), ("disc", 0)],
        "0003": [("large", 1)],
        "0025": [("large", 0)],
    }
    for name, found in objects.items():
        text = "".join(ONE.format(*each) for each in found)
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{text}</annotation>")
    data = open_voc(root, cache=cache)
    assert rows(data)["0005"] == [-1, 0, 0] and rows(data)["0006"] == [1, 0, 0]
    (copied,) = [row for name, row in rows(data).items() if name in ("0003", "0025")]
    assert copied == [0, 1, 0] and len(data.images) == 28
    assert data.left_out == {"no_image": 1, "train_and_test": 1} and len(data.test) == 10


def test_damaged_lists_and_annotations_are_named(photos: Path, cache: Path, tmp_path: Path) -> None:
    root = write_voc(photos, tmp_path / "voc", PARTS)
    (root / "ImageSets" / "Main" / "disc_test.txt").write_text("0020 \x1b[31m7\n")
    with pytest.raises(DataError, match=r"disc_test\.txt.*no line of a list") as caught:
        open_voc(root, cache=cache)
    assert "\x1b" not in str(caught.value)
    other = write_voc(photos, tmp_path / "other", PARTS, lists=False, annotations=True)
    (other / "Annotations" / "0007.xml").write_text("<annotation><object>")
    with pytest.raises(DataError, match=r"0007\.xml can't be read"):
        open_voc(other, cache=cache)


def test_a_folder_without_labels_says_what_is_missing(tmp_path: Path, cache: Path, photos: Path) -> None:
    root = write_voc(photos, tmp_path / "voc", PARTS, lists=False)
    assert is_voc(root) and not is_voc(photos)
    with pytest.raises(DataError, match=r"no list trainval\.txt or train\.txt"):
        open_voc(root, cache=cache)


def test_the_typed_verb_scores_several_classes(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    root = str(write_voc(photos, tmp_path / "voc", PARTS))
    words = ["eval", UNTRAINED, root, "tasks=svm,one_vs_rest", "svm.costs=[1.0]", "one_vs_rest.penalties=[0.01]"]
    assert typed([*words, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["train"], answer["test"], answer["classes"]) == (20, 10, 3) and "knn" not in answer
    assert 0 < answer["tasks"]["svm"]["score"] <= 1 and answer["tasks"]["svm"]["chosen"] == {
        f"C of {name}": 1.0 for name in ("disc", "large", "other")
    }
    assert typed(words) == 0
    text = capsys.readouterr().out
    assert "svm: mAP" in text and "one_vs_rest: mAP (11 points)" in text and "learned from trainval/" in text
    with pytest.raises(UsageError, match="one class"):
        divcon.evaluate(UNTRAINED, root, tasks="knn")
