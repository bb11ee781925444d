"""DeepCluster: whitening, fair sampling, labelings compared, a classifier begun anew, and edges for colors."""

import faiss
import numpy as np
import pytest
import slow
import torch
import torch.nn.functional as F
from sklearn.metrics import normalized_mutual_info_score
from test_methods import AT, BATCH, PAIR, N, built, toy_batch, toy_pixels
from torch import Tensor, nn

from divcon.clustering.labelings import normalized_mutual_information, resample_equally
from divcon.clustering.whitening import whitened
from divcon.data.loader import Loader
from divcon.data.sampler import Sampler
from divcon.methods.contract import Step
from divcon.methods.deepcluster import DeepCluster
from divcon.nets.encoder import EncoderSpec, build
from divcon.nets.fold_batch_norm import fold_batch_norms
from divcon.nets.net import Net
from divcon.nets.sobel import SobelFilter
from divcon.train.optimizers import Name, make_optimizer


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# whitening


def test_whitened_rows_are_faisss_up_to_signs() -> None:
    x = (normal(500, 12) @ normal(12, 12, seed=1) + 5).numpy()
    pca = faiss.PCAMatrix(12, 6, -0.5)
    pca.train(x)
    theirs = pca.apply(x) * np.sqrt(len(x))  # it takes sums for variances
    ours = whitened(torch.from_numpy(x), 6).numpy()
    signs = np.sign((ours * theirs).sum(0))
    assert np.abs(ours * signs - theirs).max() / np.abs(theirs).max() < 5e-3


def test_whitened_rows_have_no_direction_of_more_weight() -> None:
    white = whitened(normal(400, 8) * torch.tensor([100.0, 10, 5, 3, 1, 0.1, 0.01, 0.01]), 5)
    torch.testing.assert_close(white.T @ white / 400, torch.eye(5), atol=1e-4, rtol=0)


def test_dead_features_are_left_out_and_not_blown_up() -> None:
    x = torch.cat([normal(300, 3), torch.zeros(300, 5)], 1)
    assert whitened(x, 8).shape == (300, 3)
    assert torch.isfinite(whitened(torch.ones(20, 4), 8)).all()


# sampling


def test_every_cluster_is_shown_as_often_as_any_other() -> None:
    labels = torch.cat([torch.full((size,), k) for k, size in enumerate((70, 20, 9, 1))])
    torch.manual_seed(0)
    shown = resample_equally(labels)
    counts = torch.bincount(labels[shown], minlength=4)
    assert len(shown) == 100 and counts.sum() == 100 and counts.max() <= 26 and counts.min() >= 22


def test_of_a_large_cluster_no_image_comes_twice_and_of_a_small_one_each_may() -> None:
    labels = torch.cat([torch.zeros(60), torch.ones(4)]).long()
    torch.manual_seed(0)
    shown = resample_equally(labels)
    large = shown[labels[shown] == 0]
    assert len(large.unique()) == len(large) and set(shown[labels[shown] == 1].tolist()) <= {60, 61, 62, 63}


def test_the_sampler_has_the_shares_of_a_slow_one() -> None:
    labels = torch.tensor([0] * 30 + [2] * 12 + [3] * 5 + [7] * 3)
    ours = sum(torch.bincount(resample_equally(labels), minlength=50) for _ in range(400))
    rng = np.random.default_rng(0)
    theirs = sum(np.bincount(slow.resample_equally(labels.tolist(), rng), minlength=50) for _ in range(400))
    for cluster in (0, 2, 3, 7):
        own = (labels == cluster).numpy()
        assert ours[own].sum() == pytest.approx(theirs[own].sum(), rel=0.03)


def test_the_loader_shows_what_stands_in_an_images_place_with_chance_of_its_own() -> None:
    loader = Loader(toy_pixels(), Sampler(N, BATCH), PAIR, seed=0, workers=1)
    before = loader.batch(0)
    loader.resample(np.zeros(N, np.int64))
    shown = loader.batch(0)
    assert set(shown.positions) == {0} and len(np.unique(shown.views[0].reshape(BATCH, -1), axis=0)) == BATCH
    loader.resample(None)
    assert np.array_equal(loader.batch(0).views[0], before.views[0])


def test_a_batch_begun_in_the_background_is_thrown_away_when_others_are_to_be_shown() -> None:
    loader = Loader(toy_pixels(), Sampler(N, BATCH), PAIR, seed=0, workers=1, ahead=True)
    loader.batch(0)
    loader.resample(np.full(N, 5))
    assert set(loader.batch(1).positions) == {5}


# labelings


@pytest.mark.parametrize("ks", [(3, 3), (2, 9), (1, 4)])
def test_normalized_mutual_information_is_that_of_scikit_learn(ks: tuple[int, int]) -> None:
    a, b = (torch.randint(k, (300,), generator=torch.Generator().manual_seed(k + i)) for i, k in enumerate(ks))
    assert normalized_mutual_information(a, b) == pytest.approx(normalized_mutual_info_score(a, b), abs=1e-9)


def test_names_of_clusters_are_all_one() -> None:
    a = torch.randint(5, (100,))
    assert (
        normalized_mutual_information(a, (a + 2) % 5) == pytest.approx(1)
        and normalized_mutual_information(a * 0, a * 0) == 1
    )


# the method


def deepcluster() -> DeepCluster:
    method = built("deepcluster")
    assert isinstance(method, DeepCluster)
    return method


def test_each_pass_begins_with_new_clusters_a_new_classifier_and_a_fair_sample() -> None:
    method = deepcluster()
    before = method.classifier.weight.clone()
    torch.manual_seed(1)
    method.before_epoch(lambda _: normal(N, 24), Step(0, 10, 0))
    assert set(method.labels.tolist()) == set(range(6))  # no cluster is empty
    assert not torch.equal(before, method.classifier.weight) and float(method.classifier.bias.abs().sum()) == 0
    assert float(method.classifier.weight.std()) == pytest.approx(0.01, rel=0.2)
    counts = torch.bincount(method.labels[method.resampled_indices()], minlength=6)
    assert counts.max() - counts.min() <= 6
    method.before_epoch(lambda _: normal(N, 24, seed=2), Step(4, 10, 1))
    assert 0 < float(method.agreement) < 1 and "agreement" in method(toy_batch("deepcluster"), AT).logs


@pytest.mark.parametrize("name", ["sgd", "adamw", "lars"])
def test_the_classifier_has_an_optimizer_of_its_own_without_momentum(name: Name) -> None:
    method = deepcluster()
    groups = make_optimizer(name, method, 1e-4).param_groups
    own = {id(p) for p in method.classifier.parameters()}
    brief = [group for group in groups if own & {id(p) for p in group["params"]}]
    assert {id(p) for group in brief for p in group["params"]} == own
    assert all(group["momentum"] == 0 for group in brief)
    assert sum(len(group["params"]) for group in groups) == len(list(method.parameters()))


# edges


class Flat(nn.Flatten):
    num_features = 2 * 6 * 7


def test_edges_are_sobels_of_gray() -> None:
    encoder = SobelFilter(Flat())
    images = normal(2, 3, 6, 7)
    found = encoder(images).reshape(2, 2, 6, 7)
    torch.testing.assert_close(
        found, torch.from_numpy(slow.edges(images.double().numpy())).float(), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("name", ["slim10_w8", "resnet18", "resnet26d"])
def test_an_encoder_that_sees_edges_sees_no_colors_and_can_be_saved_and_folded(name: str) -> None:
    spec = EncoderSpec(name, colors="edges")
    net = Net(build(spec, 32)).eval()
    images = normal(2, 3, 32, 32)
    gray = images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    torch.testing.assert_close(net(images), net(gray), atol=1e-4, rtol=1e-4)
    other = Net(build(spec, 32)).eval()
    other.load_state_dict(net.state_dict())
    torch.testing.assert_close(other(images), net(images))
    torch.testing.assert_close(fold_batch_norms(net, 32)(images), net(images), atol=1e-3, rtol=1e-3)
    assert not torch.equal(F.relu(net(images)), F.relu(net(images.flip(3))))
