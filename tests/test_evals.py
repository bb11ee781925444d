import importlib
from collections.abc import Iterator

import numpy as np
import pytest
import slow
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, recall_score
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from divcon.clustering import blocks
from divcon.errors import DataError
from divcon.evals import logistic
from divcon.evals.knn import knn
from divcon.evals.lbfgs import InverseHessian
from divcon.evals.linear import PATH_TOLERANCE, accuracy, fit_logistic, linear
from divcon.evals.logistic import Problem
from divcon.evals.scores import Accuracy
from divcon.evals.split import stratified
from divcon.evals.unlabeled import agreement
from divcon.machine import Precision

LIMITS = importlib.import_module("threadpoolctl").threadpool_limits  # it has no types


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread: small products are slower on several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with LIMITS(1):
        yield
    torch.set_num_threads(before)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


Labeled = tuple[Tensor, Tensor, Tensor, Tensor]


@pytest.fixture(scope="module")
def digits() -> Labeled:
    """The training and the test images of ten handwritten digits."""
    x, y = load_digits(return_X_y=True)
    rows, labels = torch.tensor(x).float(), torch.tensor(y).long()
    return rows[:1200], labels[:1200], rows[1200:], labels[1200:]


# nearest neighbors


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_the_vote_is_that_of_the_loop(temperature: float) -> None:
    x, y, queries = normal(80, 4), torch.arange(80) % 3, normal(25, 4, seed=1)
    winners = [
        slow.knn_winner(query, x.double().numpy(), y.tolist(), 7, temperature) for query in queries.double().numpy()
    ]
    assert knn(x, y, queries, torch.tensor(winners), ks=(7,), temperature=temperature) == {7: 1.0}


def test_scikit_learn_votes_the_same(digits: Labeled) -> None:
    x, y, test_x, _ = digits

    def weights(distance: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.exp((1 - distance) / 0.07)

    for k in (20, 200):
        peer = KNeighborsClassifier(k, metric="cosine", weights=weights).fit(x.double().numpy(), y.numpy())
        predicted = torch.from_numpy(peer.predict(test_x.double().numpy()))
        assert knn(x, y, test_x, predicted, ks=(k,))[k] > 0.998  # float32 may choose another 200th neighbor


def test_more_neighbors_than_images_are_all_the_images() -> None:
    x, y, test_x, test_y = normal(30, 4), torch.arange(30) % 3, normal(40, 4, seed=1), torch.arange(40) % 3
    scores = knn(x, y, test_x, test_y)
    assert set(scores) == {20, 200}
    assert scores[200] == knn(x, y, test_x, test_y, ks=(30,))[30]


def test_the_lengths_of_features_do_not_matter_to_neighbors(digits: Labeled) -> None:
    x, y, test_x, test_y = digits
    assert knn(x, y, test_x, test_y) == pytest.approx(knn(x * (1 + y[:, None]), y, 0.01 * test_x, test_y), abs=0.003)


def test_a_class_without_training_images_is_never_predicted() -> None:
    assert knn(normal(9, 3), torch.zeros(9).long(), normal(4, 3), torch.full((4,), 5), ks=(3,)) == {3: 0.0}


# the linear probe


def test_the_loss_is_that_of_the_loop_and_its_gradient_that_of_autograd() -> None:
    x, y, theta = normal(40, 5).double(), torch.arange(40) % 3, normal(3, 6, seed=1).double().requires_grad_()
    x = x - x.mean(0)  # centering then changes nothing
    state = Problem(x, y, 3).state_at(theta.detach(), 0.3)
    weight, bias = theta[:, :-1], theta[:, -1]
    by_torch = torch.nn.functional.cross_entropy(x @ weight.T + bias, y) + 0.15 * weight.square().sum()
    expected = slow.logistic_loss(x.numpy(), y.tolist(), weight.detach().numpy(), bias.detach().numpy(), 0.3)
    assert state.loss == pytest.approx(expected, rel=1e-12)
    assert torch.allclose(state.gradient, torch.autograd.grad(by_torch, theta)[0], atol=1e-12)


def loss_of(weights: tuple[Tensor, Tensor], x: Tensor, y: Tensor, penalty: float) -> float:
    weight, bias = (part.double() for part in weights)
    loss = torch.nn.functional.cross_entropy(x.double() @ weight.T + bias, y)
    return float(loss + penalty / 2 * weight.square().sum())


@pytest.mark.parametrize("penalty", [1e-4, 1e-2, 1.0])
def test_scikit_learn_finds_the_same_minimum(digits: Labeled, penalty: float) -> None:
    x, y, test_x, test_y = (part / 6.6 if part.is_floating_point() else part for part in digits)
    ours = fit_logistic(x, y, 10, penalty)
    peer = LogisticRegression(C=1 / (len(x) * penalty), tol=1e-8, solver="newton-cholesky")
    peer.fit(x.double().numpy(), y.numpy())
    theirs = torch.from_numpy(peer.coef_).float(), torch.from_numpy(peer.intercept_).float()
    losses = [loss_of(weights, x, y, penalty) for weights in (ours, theirs)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert losses[0] < losses[1] + 1e-5
    assert accuracy(ours, test_x, test_y) == pytest.approx(accuracy(theirs, test_x, test_y), abs=0.005)
    if penalty >= 1e-2:  # with less, pixels that are nearly always blank are free to take any weight
        assert torch.allclose(ours[0], theirs[0], atol=2e-3)


@pytest.fixture(scope="module")
def lowest_losses(digits: Labeled) -> dict[float, float]:
    """The loss of scikit-learn's classifier, by penalty."""
    x, y, found = digits[0] / 6.6, digits[1], {}
    for penalty in (1.0, 0.1, 0.01, 1e-3, 1e-4):
        peer = LogisticRegression(C=1 / (len(x) * penalty), tol=1e-8, solver="newton-cholesky")
        peer.fit(x.double().numpy(), y.numpy())
        found[penalty] = loss_of((torch.from_numpy(peer.coef_), torch.from_numpy(peer.intercept_)), x, y, penalty)
    return found


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_each_penalty_of_a_path_ends_where_scikit_learn_does(
    digits: Labeled, lowest_losses: dict[float, float], precision: Precision
) -> None:
    x, y, path = digits[0] / 6.6, digits[1], list(lowest_losses)
    for penalty, ours in zip(path, Problem(x, y, 10, precision).path(path, PATH_TOLERANCE)):
        assert loss_of(ours, x, y, penalty) <= lowest_losses[penalty] * (1 + 1e-4)


def test_steps_in_low_precision_end_at_a_zero_gradient_in_float32(digits: Labeled) -> None:
    x, y, test_x, test_y = digits
    x, problem = x / 6.6, Problem(x / 6.6, y, 10)
    for penalty in (1.0, 1e-2, 1e-4):
        plain, quick = (fit_logistic(x, y, 10, penalty, precision=precision) for precision in ("fp32", "bf16"))
        for weights in (plain, quick):
            assert problem.state_at(problem._theta(weights), penalty).max_gradient < 2e-6
        assert accuracy(plain, test_x / 6.6, test_y) == pytest.approx(accuracy(quick, test_x / 6.6, test_y), abs=2e-3)


def test_the_number_of_threads_changes_no_weight(digits: Labeled, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither does the choice of one thread for a small problem."""
    x, y, found = digits[0] / 6.6, digits[1], []
    for threads, small in ((1, 0), (3, 0), (3, logistic.SMALL)):
        monkeypatch.setattr(logistic, "SMALL", small)
        torch.set_num_threads(threads)
        found.append(fit_logistic(x, y, 10, 0.01)[0])
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_a_small_problem_begins_no_threads(digits: Labeled, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, begun = digits[0] / 6.6, digits[1], list[int]()
    torch.set_num_threads(3)
    problem = Problem(x, y, 10)
    state, hessian = problem.state_at(problem._theta(None), 0.01), InverseHessian(torch.clone)
    monkeypatch.setattr(blocks, "_on_threads", lambda work, threads: (begun.append(threads), work()))
    for small in (logistic.SMALL, 0):
        monkeypatch.setattr(logistic, "SMALL", small)
        problem._descend(state, hessian, 0.01, problem.x, 1e-2)
        assert bool(begun) == (small == 0)


def test_features_that_are_nearly_equal_can_be_fitted() -> None:
    x = torch.ones(200, 40) + 1e-4 * normal(200, 40)
    weight, bias = fit_logistic(x, torch.arange(200) % 2, 2, 1e-6)
    assert weight.isfinite().all() and bias.isfinite().all()


def test_the_start_of_the_search_changes_nothing(digits: Labeled) -> None:
    x, y = digits[0] / 6.6, digits[1]
    cold, warm = fit_logistic(x, y, 10, 0.1), fit_logistic(x, y, 10, 0.1, (normal(10, 64), normal(10)))
    assert torch.allclose(cold[0], warm[0], atol=2e-3)


def test_a_shift_of_all_features_changes_the_bias_alone(digits: Labeled) -> None:
    x, y = digits[0] / 6.6, digits[1]
    here, there = fit_logistic(x, y, 10, 0.1), fit_logistic(x + 3, y, 10, 0.1)
    assert torch.allclose(here[0], there[0], atol=2e-3)


PENALTIES = (1e-3, 1e-2, 1e-1, 10.0)


def test_the_score_of_the_probe_does_not_depend_on_the_scale_of_the_features(digits: Labeled) -> None:
    x, y, test_x, test_y = digits
    plain = linear(x, y, test_x, test_y, penalties=PENALTIES)
    large = linear(1000 * x, y, 1000 * test_x, test_y, penalties=PENALTIES)
    assert plain.top1 == pytest.approx(large.top1, abs=0.002) and plain.penalty == large.penalty
    assert plain.top1 > 0.9 and plain.penalty < 1


def test_the_test_images_choose_nothing(digits: Labeled) -> None:
    x, y, test_x, test_y = digits
    one = linear(x, y, test_x, test_y, penalties=PENALTIES)
    other = linear(x, y, test_x.flip(0)[:50], 9 - test_y[:50], penalties=PENALTIES)
    assert (one.penalty, one.validation) == (other.penalty, other.validation)
    assert one.validation[one.penalty] == max(one.validation.values())


def test_the_final_fit_uses_the_validation_images_too(digits: Labeled) -> None:
    x, y, test_x, test_y = digits
    score = linear(x, y, test_x, test_y, penalties=(0.01,))
    scale = x.double().square().mean().sqrt().float()
    assert score.top1 == pytest.approx(accuracy(fit_logistic(x / scale, y, 10, 0.01), test_x / scale, test_y), abs=2e-3)


@pytest.mark.parametrize(("least", "used"), [(300 * 64, "bf16"), (300 * 64 + 1, "fp32")])
def test_few_images_are_fitted_in_float32(
    least: int, used: Precision, digits: Labeled, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    class RecordedProblem(Problem):
        def __init__(self, x: Tensor, y: Tensor, classes: int, precision: Precision = "fp32") -> None:
            asked.append(precision)
            super().__init__(x, y, classes, precision)

    module = importlib.import_module("divcon.evals.linear")
    monkeypatch.setattr(module, "BF16_MINIMUM", least)
    monkeypatch.setattr(module, "Problem", RecordedProblem)
    linear(*(rows[:300] for rows in digits), penalties=(0.1,), precision="bf16")
    assert set(asked) == {used}


def test_one_image_a_class_cannot_choose_a_penalty() -> None:
    with pytest.raises(DataError, match="no class has two"):
        linear(normal(4, 3), torch.arange(4), normal(4, 3), torch.arange(4))


# splits


@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.7, 0.8, 0.99])
def test_each_class_is_on_both_sides_and_no_image_is_on_two(fraction: float) -> None:
    labels = np.repeat([4, 7, 1, 9], [2, 60, 11, 1])
    train, test, dropped = stratified(labels, fraction)
    assert dropped == [9]
    assert sorted([*train, *test]) == np.flatnonzero(labels != 9).tolist()
    for one in (4, 7, 1):
        n, mine = int((labels == one).sum()), int((labels[train] == one).sum())
        assert mine == min(max(1, round(fraction * n)), n - 1) and one in labels[test]


def test_a_split_follows_from_labels_and_seed_alone() -> None:
    labels = np.arange(300) % 7
    splits = []
    for seed, elsewhere in ((0, 5), (0, 6), (1, 5)):
        np.random.seed(elsewhere)
        splits.append(stratified(labels, seed=seed)[0].tolist())
    assert splits[0] == splits[1] != splits[2]


def test_every_image_is_tested_on_under_some_seed() -> None:
    labels = np.repeat([0, 1], [10, 40])
    assert set().union(*(stratified(labels, 0.7, seed)[1].tolist() for seed in range(40))) == set(range(50))


# without labels


def test_agreement_is_that_of_the_loop() -> None:
    a = normal(40, 5)
    b = torch.cat([a + 0.5 * normal(40, 5, seed=1), normal(40, 1, seed=2)], 1)
    expected = slow.neighbor_agreement(a.double().numpy(), b.double().numpy(), 6)
    assert agreement(a, b, 6) == pytest.approx(expected, abs=1e-9)


def test_the_same_view_agrees_wholly_even_with_copies() -> None:
    a = normal(30, 4).repeat(20, 1)
    assert agreement(a, a, 5) == 1


def test_unrelated_features_agree_by_chance() -> None:
    assert agreement(normal(1500, 16), normal(1500, 16, seed=1), 15) == pytest.approx(15 / 1499, rel=0.2)


# accuracy by class


def test_scikit_learn_counts_the_same_shares() -> None:
    truth, told = (torch.from_numpy(np.random.default_rng(seed).integers(0, 5, 300)) for seed in (1, 2))
    told = torch.where(truth < 2, truth, told)  # some classes are told better than others
    shares = Accuracy.of(told, truth, 5)
    assert shares.top1 == pytest.approx(float((told == truth).double().mean()))
    assert shares.balanced == pytest.approx(balanced_accuracy_score(truth, told))
    assert shares.per_class == pytest.approx(recall_score(truth, told, average=None))


def test_a_class_that_is_not_tested_on_has_no_share_and_weighs_nothing() -> None:
    shares = Accuracy.of(torch.tensor([0, 0, 2, 1]), torch.tensor([0, 0, 0, 2]), 4)
    assert shares == Accuracy(0.5, (2 / 3 + 0) / 2, [2 / 3, None, 0.0, None])
