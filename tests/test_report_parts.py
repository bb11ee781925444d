"""The parts of a report that compute: measures against other libraries and planted truth, plots, names, samples."""

import re

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from sklearn.metrics import adjusted_rand_score, silhouette_score

from divcon.clustering.number_of_clusters import SILHOUETTE_ROWS, Trial, suggested, try_numbers
from divcon.clustering.shares import evenly
from divcon.clustering.validity import adjusted_rand_index, silhouette
from divcon.evals.unlabeled import rankme
from divcon.files.text import counted, counted_are
from divcon.reports.galleries import gallery_of
from divcon.reports.measures import ODDITIES, measure, odd_ones
from divcon.reports.parts import capped, duration
from divcon.reports.plots import Series, bars, lines
from divcon.reports.sample import sample_positions
from divcon.reports.words import cluster_names, cluster_words


def blobs(k: int, n: int = 90, d: int = 16, spread: float = 0.1) -> np.ndarray:
    """k groups of rows around orthogonal directions."""
    rng = np.random.default_rng(k)
    return np.concatenate([np.eye(d)[i] + rng.normal(0, spread, (n, d)) for i in range(k)]).astype(np.float32)


def test_silhouette_and_rand_index_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels, others = rng.integers(0, 6, 300), rng.integers(0, 4, 300)
    labels[0] = 6  # a cluster of one row
    x = rng.normal(size=(300, 8)) + 2 * np.eye(8)[labels]
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    assert silhouette(x, labels) == pytest.approx(silhouette_score(x, labels, metric="cosine"))
    assert silhouette(x, 10 * labels + 3) == pytest.approx(silhouette(x, labels))
    assert adjusted_rand_index(labels, others) == pytest.approx(adjusted_rand_score(labels, others))
    assert adjusted_rand_index(labels, (labels + 1) % 7) == 1.0
    assert np.isnan(silhouette(x, np.zeros(300, np.int64)))


def test_rankme_is_that_of_its_definition_and_counts_equal_dimensions() -> None:
    x = torch.randn(200, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(x)
    shares = values / values.sum()
    assert rankme(x) == pytest.approx(float(torch.exp(-(shares * shares.log()).sum())))
    assert rankme(x.T) == pytest.approx(rankme(x))
    equal = torch.zeros(12, 30)
    equal[:, :12] = torch.eye(12)
    assert rankme(equal) == pytest.approx(12) and rankme(torch.ones(9, 5)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("n", "says"), [(0, "0 images are"), (1, "1 image is"), (2, "2 images are"), (2000, "2,000 images are")]
)
def test_one_is_singular(n: int, says: str) -> None:
    assert counted_are(n, "image") == says and says.startswith(counted(n, "image"))


@pytest.mark.parametrize("k", [3, 5])
def test_the_number_of_clusters_that_were_planted_is_suggested(k: int) -> None:
    trials = try_numbers(blobs(k), used=7)
    best = suggested(trials)
    assert best is not None and best.k == k and best.stability > 0.95
    assert 7 in {trial.k for trial in trials}


def test_noise_has_no_number_of_clusters() -> None:
    noise = np.random.default_rng(0).normal(size=(400, 32)).astype(np.float32)
    assert suggested(try_numbers(noise)) is None


def test_a_cluster_that_the_sample_lacks_has_no_silhouette_and_is_no_evidence() -> None:
    x = np.tile(np.eye(1, 4, dtype=np.float32), (2000, 1))
    x[np.setdiff1d(np.arange(2000), evenly(2000, SILHOUETTE_ROWS))[0]] = np.eye(4)[1]
    assert try_numbers(x) == []


def test_of_numbers_that_are_as_good_the_smallest_is_suggested() -> None:
    trials = [Trial(2, 0.1, 1.0, 9), Trial(3, 0.40, 0.9, 9), Trial(4, 0.41, 0.9, 9), Trial(5, 0.9, 0.2, 9)]
    assert suggested(trials) == trials[1]


def test_planted_odd_pictures_are_the_only_odd_ones() -> None:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8))
    plain = np.asarray(small.resize((112, 112), Image.Resampling.NEAREST))
    blurred = np.asarray(Image.fromarray(plain).filter(ImageFilter.GaussianBlur(4)))
    pictures = [plain, plain // 6, (plain // 64) + 120, blurred]
    found = {oddity.title: odd_ones(map(measure, pictures), oddity) for oddity in ODDITIES}
    assert found == {"Dark": [1], "Nearly blank": [2], "Blurred": [3]}


def test_a_single_pixel_has_measures() -> None:
    assert measure(np.full((1, 1, 3), 200, np.uint8)).brightness == pytest.approx(200)


@pytest.mark.parametrize(("n", "size"), [(0, 10), (3, 10), (10, 10), (11, 10), (1003, 100), (5_000_000, 4000)])
def test_a_sample_has_one_image_of_each_equal_part(n: int, size: int) -> None:
    positions = sample_positions(n, 0, size)
    assert len(positions) == min(n, size) and (np.diff(positions) > 0).all()
    assert (positions * size // max(n, size) == np.arange(len(positions))).all() or n <= size or n % size
    assert (positions >= 0).all() and (positions < max(n, 1)).all()
    assert (positions == sample_positions(n, 0, size)).all()


def test_a_cluster_is_named_by_the_words_of_its_folders() -> None:
    paths = [b"all/red_birds/%d.jpg" % i for i in range(20)] + [b"all/42 Cats/%d.jpg" % i for i in range(20)]
    words = cluster_words(paths, np.repeat([0, 1], 20), 3)
    assert words == [["birds", "red"], ["cats"], []]
    assert cluster_names(words) == ["cluster 0: birds, red", "cluster 1: cats", "cluster 2"]


def test_a_gallery_has_the_nearest_the_farthest_and_the_same_random_ones() -> None:
    members, distances = np.arange(5, 30), np.random.default_rng(0).random(40).astype(np.float32)
    nearest, border, random = gallery_of(members, distances, 0, 4)
    ordered = sorted(members.tolist(), key=lambda i: distances[i])
    assert nearest.tolist() == ordered[:4] and border.tolist() == ordered[:-5:-1]
    assert set(random) <= set(members) and (random == gallery_of(members, distances, 0, 4)[2]).all()


def test_two_plots_have_different_ids_and_no_color_of_their_own() -> None:
    series = [Series("a & <b>", [0, 1, 2], [1.0, 3.0, 2.0]), Series("c", [0, 1, 2], [2.0, 1.0, 0.5])]
    one, other = lines("one", "t <i>", series, "x", "y"), bars("other", "t", ["g", "h", "i"], series, "y")
    assert one is not None and other is not None and one == lines("one", "t <i>", series, "x", "y")
    ids = [re.findall(r' id="([^"]+)"', svg) for svg in (one, other)]
    assert ids[0] and ids[1] and not set(ids[0]) & set(ids[1])
    for svg, own in zip((one, other), ids):
        assert {*re.findall(r'href="#([^"]+)"', svg), *re.findall(r"url\(#([^)]+)\)", svg)} <= set(own)
        assert not re.findall(r"#[0-9a-f]{6}", svg) and "var(--c0)" in svg and "a &amp; &lt;b&gt;" in svg
    assert "t &lt;i&gt;" in one


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_seconds_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_long_list_says_how_many_are_left_out_and_where_they_are() -> None:
    rows = [[str(i)] for i in range(4321)]
    assert capped(rows, 21, "images/rejected.csv")[1] == "and 4,300 more: images/rejected.csv"
    assert capped(rows, 5000, "x") == (rows, "")
