"""Tasks: found by their files, with settings that are part of what kept scores belong to; each beside an oracle."""

from pathlib import Path

import numpy as np
import pytest
import slow
import torch
from numpy.typing import NDArray
from test_evals import digits, normal, one_thread  # noqa: F401 - fixtures
from test_kept_scores import files, finished_copy
from torch import Tensor

import divcon
from divcon.data.images import Images
from divcon.errors import DataError, UsageError
from divcon.evals.knn import knn
from divcon.evals.scores import thirds
from divcon.evals.tasks.contract import Trial
from divcon.evals.tasks.registry import DEFAULTS, all_tasks, chosen_tasks, score_all
from divcon.machine import Machine
from divcon.runs.evals import kept_scores

Digits = tuple[Tensor, Tensor, Tensor, Tensor]


def trial(x: Tensor, y: NDArray[np.int64], train: int, names: list[str] | None = None, **others: object) -> Trial:
    """A trial of features; the first `train` images are those to learn from."""
    nothing = Images.__new__(Images)
    named = names or [str(i) for i in range(int(y.max()) + 1)]
    return Trial(
        model=None, images=nothing, labels=y, names=named, train=np.arange(train), test=np.arange(train, len(y)),
        encode=lambda layer: x, machine=Machine(), cache=Path("nowhere"), **others,
    )  # fmt: skip


@pytest.fixture
def digit_trial(digits: Digits) -> Trial:  # noqa: F811
    x, y = torch.cat([digits[0][:300], digits[2]]), torch.cat([digits[1][:300], digits[3]])
    return trial(x, y.numpy(), 300, [f"digit {i}" for i in range(10)])


# the registry


def test_each_task_is_found_by_its_name_and_says_in_a_line_what_it_is() -> None:
    for name, task in all_tasks().items():
        assert name.replace("_", "").isalnum() and 10 < len(task.about) < 100
        assert task.settings()["version"] == task.version
    assert all(all_tasks()[name].truth == truth for truth, names in DEFAULTS.items() for name in names)


def test_a_wrong_task_setting_or_value_is_refused_with_the_name_to_type() -> None:
    with pytest.raises(UsageError, match="linear"):
        chosen_tasks("knn,linaer", "classes")
    with pytest.raises(UsageError, match="several classes"):
        chosen_tasks("knn", "sets")
    with pytest.raises(UsageError, match=r"linear_45\.penalties"):
        chosen_tasks("linear_45", "classes", {"linear_45.penalty": 1.0})
    with pytest.raises(UsageError, match=r"linear_45\.penalties\.0"):
        chosen_tasks("linear_45", "classes", {"linear_45.penalties": [-1.0]})
    with pytest.raises(UsageError, match="unknown task 'linear_45'"):
        chosen_tasks("knn", "classes", {"linear_45.penalties": [1.0]})
    for name, truth in (("segmentation", "masks"), ("depth", "depths"), ("detection", "boxes")):
        with pytest.raises(UsageError, match=rf"{name}\.side=100000: input should be less than or equal to 4096"):
            chosen_tasks(name, truth, {f"{name}.side": 100_000})  # type: ignore[arg-type]


def test_an_empty_list_of_values_to_choose_from_is_refused() -> None:
    """A task may go without other numbers of clusters: it always has as many as classes."""
    for name, task in all_tasks().items():
        lists = [setting for setting, value in task.settings().items() if isinstance(value, list)]
        for setting in lists if name != "clusters" else ():
            with pytest.raises(UsageError, match=rf"{name}\.{setting}=\[\]"):
                chosen_tasks(name, task.truth, {f"{name}.{setting}": []})


def test_settings_change_one_task_and_its_key() -> None:
    tasks = chosen_tasks("knn,linear_45", "classes", {"linear_45.penalties": [1.0, 2.0]})
    assert tasks["linear_45"].settings() == {"version": 1, "penalties": [1.0, 2.0]}
    assert tasks["knn"] == all_tasks()["knn"] and list(tasks) == ["knn", "linear_45"]


def test_both_first_scores_have_shares_by_class(digit_trial: Trial) -> None:
    scores = score_all(chosen_tasks(None, "classes"), digit_trial)
    for score in scores.values():
        assert list(score.per_class) == [f"digit {i}" for i in range(10)]
        assert score.balanced == pytest.approx(np.mean(list(score.per_class.values())))
    assert scores["knn"].top1 == knn(*digit_trial.probe.parts)[20]


@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 1)])
def test_where_the_linear_score_can_not_be_had_neighbors_have_theirs(sizes: tuple[int, ...]) -> None:
    y = np.tile(np.repeat(np.arange(len(sizes)), sizes), 2)
    few = trial(normal(len(y), 3), y, len(y) // 2)
    scores = score_all(chosen_tasks(None, "classes"), few)
    assert 0 <= scores["knn"].top1 <= 1
    assert scores["linear"].top1 is None and "no class has two training images" in scores["linear"].reason
    with pytest.raises(DataError, match="no class has two"):
        score_all(chosen_tasks("linear", "classes"), few)


# thirds


def test_thirds_are_those_of_the_loop() -> None:
    rng = np.random.default_rng(0)
    for classes in (3, 4, 10, 11):
        sizes = rng.integers(1, 500, classes)
        shares = [None if rng.random() < 0.2 else float(rng.random()) for _ in range(classes)]
        assert thirds(shares, sizes) == pytest.approx(slow.thirds(shares, sizes.tolist()))


def test_classes_of_about_one_size_have_no_thirds() -> None:
    assert thirds([0.5] * 6, np.array([10, 11, 12, 9, 10, 13])) == {}
    assert thirds([0.5, 0.4], np.array([100, 1])) == {}
    assert set(thirds([0.5] * 6, np.array([100, 90, 30, 20, 10, 9]))) == {"many", "medium", "few"}


def test_rare_classes_that_are_told_worse_show_in_the_thirds_of_each_task(digits: Digits) -> None:  # noqa: F811
    x, y = torch.cat([digits[0], digits[2]]), torch.cat([digits[1], digits[3]])
    wanted = 2 ** np.arange(10, 0, -1) // 8 + 2  # of each digit, to learn from
    train = np.concatenate([np.flatnonzero(digits[1].numpy() == i)[: wanted[i]] for i in range(10)])
    rows = np.concatenate([train, np.arange(1200, len(y))])
    scores = score_all(chosen_tasks("knn,linear,linear_45", "classes"), trial(x[rows], y.numpy()[rows], len(train)))
    assert scores["knn"].many > scores["knn"].few
    assert scores["linear"].many > scores["linear"].few
    assert scores["linear_45"].more["many"] > scores["linear_45"].more["few"]


# the linear classifier by 45 penalties


def test_the_sweep_has_the_45_penalties_of_the_paper() -> None:
    penalties = all_tasks()["linear_45"].penalties
    assert len(penalties) == 45 and (penalties[0], penalties[-1]) == (1e-6, 1e5)
    assert np.diff(np.log10(penalties)) == pytest.approx(np.full(44, 0.25), abs=1e-6)


def test_the_sweep_is_as_good_as_the_short_one_and_says_its_penalty(digit_trial: Trial) -> None:
    scores = score_all(chosen_tasks("linear,linear_45", "classes"), digit_trial)
    assert scores["linear_45"].score == pytest.approx(scores["linear"].top1, abs=0.02)
    assert scores["linear_45"].chosen["penalty"] in all_tasks()["linear_45"].penalties


# kept scores


def test_scores_are_kept_apart_by_the_settings_of_their_tasks(photos: Path, tmp_path: Path) -> None:
    run = finished_copy(photos, tmp_path)
    for penalties in ([1.0], [0.1], [1.0]):
        answer = divcon.evaluate(run, photos, tasks="linear_45", settings={"linear_45.penalties": penalties})
        assert answer.tasks["linear_45"].chosen == {"penalty": penalties[0]}
    assert len(files(run)) == 2
    kept = {kept.key.settings["linear_45"]["penalties"][0]: kept.scores for kept in kept_scores(run)}
    assert set(kept) == {1.0, 0.1} and kept[1.0] == answer
