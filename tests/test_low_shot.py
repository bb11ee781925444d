"""Linear classifiers by SGD, from few images, and fine-tuned encoders: each beside torch's or scikit-learn's."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from test_evals import digits, normal, one_thread  # noqa: F401 - fixtures
from test_tasks import Digits, digit_trial, trial  # noqa: F401 - fixtures
from torch import nn

import divcon
from divcon.api.models import encoder_of, find_model
from divcon.data.labeled.labeled import open_labeled
from divcon.data.pixels.pixel_cache import open_pixels
from divcon.data.sampler import shuffled
from divcon.errors import DataError, UsageError
from divcon.evals.choice import FAILED, best, merit
from divcon.evals.fine_tuning import FineTuned, FineTuning
from divcon.evals.linear import linear
from divcon.evals.low_shot import few_of_each, share_of_each
from divcon.evals.sgd import SgdClassifiers
from divcon.evals.split import stratified
from divcon.evals.tasks.contract import Trial
from divcon.evals.tasks.few_shot import FewShot
from divcon.evals.tasks.finetune import FineTune
from divcon.evals.tasks.linear_sgd import LinearSgd
from divcon.machine import Machine
from divcon.rng import seed_for

UNTRAINED = "random:slim10_w8"

# SGD


def test_each_rate_goes_where_torch_goes() -> None:
    x, y, rates, n, epochs, size = normal(50, 6), torch.arange(50) % 3, (0.5, 2.0), 50, 3, 16
    ours = SgdClassifiers(6, 3, rates, n=n, epochs=epochs, batch_size=size, seed=4)
    theirs = [nn.Linear(6, 3) for _ in rates]
    for layer in theirs:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    steps = epochs * 4
    optimizers = [
        torch.optim.SGD(layer.parameters(), lr=rate * size / 256, momentum=0.9, nesterov=True)
        for layer, rate in zip(theirs, rates)
    ]
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps) for optimizer in optimizers]
    for epoch in range(epochs):
        order = shuffled(np.arange(n), n, seed_for(4, "sgd", epoch))
        ours.learn(x, y, epoch)
        for rows in (order[i : i + size] for i in range(0, n, size)):
            for layer, optimizer, schedule in zip(theirs, optimizers, schedules):
                optimizer.zero_grad()
                F.cross_entropy(layer(x[rows]), y[rows]).backward()
                optimizer.step()
                schedule.step()
    for i, layer in enumerate(theirs):
        assert torch.allclose(ours.weight[i], layer.weight.T, atol=1e-6)
        assert torch.allclose(ours.bias[i, 0], layer.bias, atol=1e-6)
        assert torch.allclose(ours.logits(x, i), layer(x), atol=1e-5)


def test_sgd_tells_digits_about_as_well_as_the_minimum(digit_trial: Trial) -> None:  # noqa: F811
    by_sgd = LinearSgd(crops=False).score(digit_trial)
    assert by_sgd.score > digit_trial.probe.linear(0, "fp32").top1 - 0.03
    assert by_sgd.chosen["rate"] in LinearSgd().rates and by_sgd.more["balanced"] > 0.84


def test_a_rate_that_is_far_too_small_is_not_chosen(digit_trial: Trial) -> None:  # noqa: F811
    assert LinearSgd(crops=False, epochs=5, rates=(1e-6, 0.3)).score(digit_trial).chosen == {"rate": 0.3}


def test_images_of_one_a_class_can_not_choose_a_rate() -> None:
    with pytest.raises(DataError, match="held-out"):
        LinearSgd(crops=False).score(trial(normal(6, 3), np.tile(np.arange(3), 2), 3))


@pytest.fixture
def photo_trial(photos: Path, cache: Path) -> Trial:
    """Photos, every fourth one a test image, for an encoder with random weights."""
    model, labeled = find_model(UNTRAINED), open_labeled(photos, cache=cache)
    pool = encoder_of(model, labeled.images, cache=cache, workers=1).all()
    everywhere = np.arange(len(labeled.images))
    return Trial(
        model=model, images=labeled.images, labels=labeled.labels, names=labeled.classes, train=everywhere[everywhere % 4 > 0],
        test=everywhere[::4], encode=lambda layer: pool, machine=Machine(), cache=cache,
    )  # fmt: skip


def test_each_epoch_has_its_own_crops_and_the_same_ones_again(photo_trial: Trial) -> None:
    features = LinearSgd()._features(photo_trial)
    first, second, again = features(0), features(1), features(0)
    assert first.shape == (120, 64) and torch.equal(first, again)
    assert not torch.equal(first, second) and not torch.equal(first, photo_trial.features[photo_trial.train])
    center = LinearSgd(crops=False)._features(photo_trial)
    assert torch.equal(center(0), photo_trial.features[photo_trial.train])


def test_sgd_on_crops_has_the_same_scores_again(photo_trial: Trial) -> None:
    task = LinearSgd(epochs=2, rates=(0.1, 0.5))
    scores = task.score(photo_trial)
    assert scores == task.score(photo_trial) and 0 <= scores.score <= 1


# few images of each class


def test_a_draw_has_k_images_of_each_class_and_all_of_a_smaller_one() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 3], [20, 2, 9]))
    few = few_of_each(labels, 5, seed=1)
    assert np.bincount(labels[few]).tolist() == [5, 2, 0, 5] and (np.diff(few) > 0).all()
    assert set(few_of_each(labels, 3, seed=1)) < set(few)
    others = [tuple(few_of_each(labels, 5, seed=1, draw=draw)) for draw in range(4)]
    assert len(set(others)) == 4 and others[0] == tuple(few)


def test_a_share_has_at_least_one_image_of_each_class() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [200, 30, 4]))
    assert np.bincount(labels[share_of_each(labels, 0.1, 0)]).tolist() == [20, 3, 1]
    assert np.array_equal(share_of_each(labels, 1.0, 0), np.arange(len(labels)))


def test_few_images_are_learned_as_scikit_learn_learns_them(digit_trial: Trial) -> None:  # noqa: F811
    task = FewShot(shots=(1, 5), draws=3, penalty=1e-3)
    scores = task.score(digit_trial)
    x = F.normalize(digit_trial.features, dim=1).numpy()
    y, train, test = digit_trial.labels, digit_trial.train, digit_trial.test
    for k, name in ((1, "1 image a class"), (5, "5 images a class")):
        theirs = []
        for draw in range(3):
            rows = train[few_of_each(y[train], k, digit_trial.seed, draw)]
            model = LogisticRegression(C=1 / (1e-3 * len(rows)), tol=1e-6, max_iter=5000).fit(x[rows], y[rows])
            theirs.append(model.score(x[test], y[test]))
        assert scores.more[name] == pytest.approx(np.mean(theirs), abs=0.005)
        assert scores.more[f"{name}, spread"] == pytest.approx(np.std(theirs, ddof=1), abs=0.005)
    assert scores.score == scores.more["5 images a class"] > scores.more["1 image a class"]


def test_one_draw_has_no_spread(digit_trial: Trial) -> None:  # noqa: F811
    scores = FewShot(shots=(2,), draws=1).score(digit_trial)
    assert set(scores.more) == {"2 images a class", "2 images a class, balanced"}


# all layers


def test_all_layers_learn_more_than_the_commonest_class(photo_trial: Trial) -> None:
    commonest = np.bincount(photo_trial.labels[photo_trial.test]).max() / len(photo_trial.test)
    scores = FineTune(share=1.0, epochs=20, rates=(0.1,)).score(photo_trial)
    assert scores.score > commonest + 0.15
    assert scores.chosen == {"rate": 0.1, "labels": 120}


def test_fine_tuning_changes_no_weight_of_the_model_and_is_the_same_again(photos: Path, cache: Path) -> None:
    model, labeled = find_model(UNTRAINED), open_labeled(photos, cache=cache)
    before = {name: tensor.clone() for name, tensor in model.net.state_dict().items()}
    pixels = open_pixels(labeled.images, model.input_spec.short_side, cache=cache, cache_gb=1, workers=1)
    positions = np.arange(0, 160, 4)
    predicted = []
    for _ in range(2):
        tuned = FineTuned(model, pixels, labeled.labels, Machine())
        tuned.fit(positions, FineTuning(rate=0.05, epochs=2, batch_size=32, seed=0))
        predicted.append(tuned.logits(np.arange(160)))
        changed = tuned.method.net.encoder.state_dict()
    assert torch.equal(*predicted)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.net.state_dict().items())
    assert not torch.equal(before["encoder.conv1.weight"], changed["conv1.weight"])


def test_a_layer_that_a_task_would_not_look_at_is_refused(photos: Path) -> None:
    with pytest.raises(UsageError, match=r"layer=hidden: not with tasks=finetune_1, .*leave layer= out"):
        divcon.evaluate(UNTRAINED, photos, tasks="knn,finetune_1", layer="hidden")


def test_a_rate_is_chosen_and_one_that_can_not_be_is_the_middle_one(photo_trial: Trial) -> None:
    found = FineTune(epochs=1, share=0.3, rates=(0.01, 0.05)).score(photo_trial)
    assert found.chosen["rate"] in (0.01, 0.05) and found.chosen["labels"] < 50
    one_each = FineTune(epochs=1, share=0.001, rates=(0.02, 0.01, 0.05)).score(photo_trial)
    assert one_each.chosen == {"rate": 0.02, "labels": len(photo_trial.names)}


def test_a_rate_at_which_the_training_fails_is_not_chosen(photo_trial: Trial) -> None:
    found = FineTune(epochs=2, share=0.3, rates=(1e30, 0.01)).score(photo_trial)
    assert found.chosen["rate"] == 0.01


def test_of_settings_with_one_accuracy_the_surer_one_is_taken_and_of_equals_the_first() -> None:
    labels = torch.tensor([0, 1, 1])
    right, surer, wrong = (torch.tensor([[s, -s], [-s, s], [-s, s]]) for s in (0.1, 1.0, -3.0))
    merits = [merit(wrong, labels), merit(right, labels), merit(surer, labels), merit(surer, labels)]
    assert best([*merits, FAILED]) == 2 and merits[1][0] == 1
    assert merit(right / 0, labels) == FAILED
    assert merits[2][1] == pytest.approx(-log_loss(labels, surer.double().softmax(1)))


def test_of_penalties_with_one_accuracy_the_one_with_the_lower_cross_entropy_is_taken(digits: Digits) -> None:  # noqa: F811
    x, y = digits[0][:300], digits[1][:300]
    found = linear(x, y, digits[2], digits[3])
    best = [penalty for penalty, share in found.validation.items() if share == max(found.validation.values())]
    assert len(best) > 2  # 60 images tell few of the penalties apart
    train, held_out, _ = stratified(y.numpy(), 0.8, 0)
    x = x / float(x.double().square().mean().sqrt())
    losses = {}
    for penalty in best:
        model = LogisticRegression(C=1 / (penalty * len(train)), tol=1e-6, max_iter=20_000).fit(x[train], y[train])
        losses[penalty] = log_loss(y[held_out], model.predict_proba(x[held_out]))
    assert found.penalty == min(losses, key=losses.__getitem__)
