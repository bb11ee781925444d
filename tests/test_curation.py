"""Picks and duplicates: each against a slow loop, on rows whose truth is known."""

import itertools
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from divcon.clustering import distances
from divcon.clustering.hierarchy import hierarchical_kmeans, kmeans_in_two_steps, nearest_members
from divcon.clustering.kmeans import TooFewRowsError, kmeans
from divcon.clustering.neighbors import nearest
from divcon.clustering.shares import equal_shares
from divcon.clustering.streamed_neighbors import streamed_nearest
from divcon.curation.balanced import balanced, leaf_quotas, level_sizes
from divcon.curation.diverse import diverse
from divcon.curation.duplicates import duplicate_groups
from divcon.curation.odd import odd, oddest
from divcon.curation.picks import Picks, Whitened, exact_products
from divcon.curation.typical import typical, typicalities
from divcon.machine import Precision

PICKERS = [diverse, typical, odd, balanced]


def unit(x: NDArray[np.floating]) -> Whitened:
    rows: Whitened = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float16)
    return rows


def noise(n: int, d: int = 24, seed: int = 0) -> Whitened:
    return unit(np.random.default_rng(seed).standard_normal((n, d)))


def heaps(sizes: list[int], d: int = 32, seed: int = 0, width: float = 0.5) -> tuple[Whitened, NDArray[np.int64]]:
    """Return rows around random directions, as many as `sizes` says, in random order; and the heap of each."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centers = rng.standard_normal((len(sizes), d))
    return unit(centers[labels] + width * rng.standard_normal((len(labels), d))), labels


def long_tail(n: int, classes: int, seed: int) -> tuple[Whitened, NDArray[np.int64]]:
    shares = 1 / np.arange(1, classes + 1)
    return heaps([int(n * share / shares.sum()) + 8 for share in shares], seed=seed, width=1.2)


def perplexity(labels: NDArray[np.int64]) -> float:
    """Return the number of equally large classes that would be as uneven as these."""
    shares = np.bincount(labels) / len(labels)
    return math.exp(-sum(p * math.log(p) for p in shares if p > 0))


def distinct(picks: Picks) -> bool:
    return len(set(picks.positions.tolist())) == len(picks)


# Shares


@pytest.mark.parametrize("seed", range(40))
def test_equal_shares_are_those_of_giving_one_at_a_time(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 12, rng.integers(1, 9))
    for total in range(int(sizes.sum()) + 1):
        given = np.zeros(len(sizes), np.int64)
        for _ in range(total):  # to the one with the fewest, of equals to the largest
            open_ = [i for i in range(len(sizes)) if given[i] < sizes[i]]
            given[min(open_, key=lambda i: (given[i], -sizes[i], i))] += 1
        assert equal_shares(sizes, total).tolist() == given.tolist()


# Hierarchical k-means


def test_each_level_clusters_the_centroids_of_the_level_below() -> None:
    x, _ = heaps([40] * 12)
    found = hierarchical_kmeans(x, [60, 12, 3], seed=0)
    assert [level.k for level in found.levels] == [60, 12, 3]
    assert [len(level.labels) for level in found.levels] == [480, 60, 12]
    for i, image in itertools.product(range(3), range(0, 480, 7)):
        label = int(found.levels[0].labels[image])
        for level in found.levels[1 : i + 1]:
            label = int(level.labels[label])
        assert found.labels(i)[image] == label


def test_two_steps_find_as_many_clusters_as_one_and_nearly_as_good_ones() -> None:
    x, _ = heaps([30] * 40, width=0.8)
    one = kmeans_in_two_steps(x, 100, seed=0)
    two = kmeans_in_two_steps(x, 100, seed=0, direct=50)
    assert one.k == two.k == 100
    assert np.bincount(two.labels, minlength=100).min() >= 1
    assert two.distances.sum() < 1.15 * one.distances.sum()
    for row, (label, distance) in enumerate(zip(two.labels.tolist(), two.distances.tolist())):
        assert distance == pytest.approx(1 - float(torch.from_numpy(x[row]).float() @ two.centroids[label]), abs=2e-3)


def test_a_collection_of_copies_has_as_many_clusters_as_different_images() -> None:
    x = noise(7)[np.arange(300) % 7]
    assert kmeans_in_two_steps(x, 20, seed=0).k == 7
    assert hierarchical_kmeans(x, [20, 10, 3], seed=0).levels[0].k == 7
    with pytest.raises(TooFewRowsError, match=r"7 distinct images among 300") as caught:
        kmeans(x, 20, seed=0)
    assert caught.value.clusters == 7


def test_the_nearest_members_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    labels, distances = rng.integers(0, 9, 200), rng.integers(0, 30, 200) / 10
    expected = [
        row for c in range(9) for row in sorted(np.flatnonzero(labels == c), key=lambda i: (distances[i], i))[:4]
    ]
    assert nearest_members(labels, distances, 4).tolist() == expected


def test_many_seeds_drawn_at_once_fit_as_well_as_seeds_drawn_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    x, _ = heaps([12] * 300, width=0.6)
    many = kmeans(x, 600, seed=0, rounds=5, restarts=1)
    monkeypatch.setattr("divcon.clustering.kmeans.SINGLY", 10**6)
    single = kmeans(x, 600, seed=0, rounds=5, restarts=1)
    assert not torch.equal(many.centroids, single.centroids)
    assert many.inertia < 1.02 * single.inertia


# Streaming


def test_neighbors_of_a_file_are_those_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    x = noise(500)[np.arange(800) % 500]  # copies, whose order is the lower number first
    monkeypatch.setattr("divcon.clustering.streamed_neighbors.BLOCK", 97)
    cosines, rows = streamed_nearest(x[:60], x, 9)
    expected = nearest(torch.from_numpy(x[:60]).float(), torch.from_numpy(x).float(), 9)
    assert torch.equal(cosines, expected[0]) and torch.equal(rows, expected[1])


def test_products_of_float16_rows_have_no_rounding() -> None:
    from fractions import Fraction

    x = noise(6, d=40)
    exact = [[sum(Fraction(float(a)) * Fraction(float(b)) for a, b in zip(p, q)) for q in x] for p in x]
    assert all(Fraction(float(exact_products(x, x)[i, j])) == exact[i][j] for i in range(6) for j in range(6))


# Picks


@pytest.mark.parametrize("pick", PICKERS)
@pytest.mark.parametrize("n", [1, 37, 300, 480])
def test_every_way_picks_n_different_images_with_a_reason_each(pick, n: int) -> None:  # type: ignore[no-untyped-def]
    x, _ = heaps([40] * 12)
    picks = pick(x, n, seed=0)
    assert len(picks) == len(picks.clusters) == len(picks.scores) == len(picks.reasons) == n and distinct(picks)
    assert all(0 <= position < 480 for position in picks.positions)


@pytest.mark.parametrize("pick", PICKERS)
def test_picks_depend_on_neither_threads_nor_precision(pick) -> None:  # type: ignore[no-untyped-def]
    x, _ = heaps([40] * 12)
    expected = pick(x, 50, seed=3)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        again = pick(x, 50, seed=3, precision="bf16")
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(again.positions, expected.positions) and again.reasons == expected.reasons


@pytest.mark.parametrize("pick", [diverse, typical, balanced])
def test_another_seed_picks_other_images(pick) -> None:  # type: ignore[no-untyped-def]
    x = noise(400)
    assert set(pick(x, 40, seed=0).positions) != set(pick(x, 40, seed=1).positions)


def test_diverse_has_an_image_of_each_heap_and_the_nearest_to_its_centroid() -> None:
    x, labels = heaps([120, 90, 60, 40, 20], width=0.3)
    picks = diverse(x, 5, seed=0)
    assert sorted(labels[picks.positions]) == [0, 1, 2, 3, 4]
    assert labels[picks.positions].tolist() == [0, 1, 2, 3, 4]  # the largest cluster first
    for position, reason in zip(picks.positions, picks.reasons):
        own = np.flatnonzero(labels == labels[position])
        center = x[own].astype(np.float64).mean(0)
        assert position == own[np.argmax(x[own].astype(np.float64) @ center)]
        assert f"{len(own):,} images are in it" in reason


def test_typicality_is_that_of_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    x = noise(60)
    members = [np.arange(0, 45), np.arange(45, 59), np.array([59])]
    for few in (1024, 10):  # all products, and a search
        monkeypatch.setattr("divcon.curation.typical.FEW", few)
        scores, order, turns = typicalities(x, members, 0, "fp32")
        expected = {}
        for own in members:
            for i in own:
                far = sorted(float(np.linalg.norm(x[i].astype(float) - x[j].astype(float))) for j in own if j != i)
                expected[i] = len(far[:20]) / sum(far[:20]) if far else 0
        assert scores == pytest.approx([expected[i] for i in order], rel=2e-3)
        for own, score in zip(members, scores[turns == 0]):
            assert score == pytest.approx(max(expected[i] for i in own), rel=2e-3)


@pytest.mark.parametrize("seed", range(5))
def test_the_typical_image_of_a_heap_with_a_fringe_lies_in_its_middle(seed: int) -> None:
    rng = np.random.default_rng(seed)
    middle, fringe = rng.standard_normal((200, 16)) * 0.2, rng.standard_normal((100, 16)) * 0.7
    x = unit(np.concatenate([middle, fringe]) + 3 * np.eye(16)[0])
    assert typical(x, 1, seed=0).positions[0] < 200


def raw(n: int, d: int = 24, seed: int = 0) -> NDArray[np.float16]:
    """Return rows far from the origin, of different lengths and widths, as an encoder gives them."""
    rng = np.random.default_rng(seed)
    rows = 3 + rng.exponential(1, (n, 1)) * rng.standard_normal((n, d)) * rng.exponential(1, d)
    return rows.astype(np.float16)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_oddness_is_the_distance_to_the_tenth_neighbor_of_a_loop(precision: Precision) -> None:
    x = raw(150)
    picks = odd(x, 150, seed=0, precision=precision)
    for position, score in zip(picks.positions, picks.scores):
        distances = sorted(math.dist(x[position].tolist(), x[i].tolist()) for i in range(150) if i != position)
        assert score == pytest.approx(distances[9], rel=1e-5)
    assert (np.diff(picks.scores) <= 0).all()


def test_distances_to_neighbors_in_blocks_are_those_of_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "BLOCK", 64)
    x = raw(300)
    queries, bank = np.arange(0, 300, 2), np.arange(0, 300, 3)
    found = distances.distances_to_neighbor(x, queries, bank, 4, distances.Lift.of(x))
    for query, distance in zip(queries, found):
        loop = sorted(math.dist(x[query].tolist(), x[i].tolist()) for i in bank if i != query)
        assert distance == pytest.approx(loop[3], rel=1e-5)


@pytest.mark.parametrize("row", [0.0, 1.0, 60_000.0])
def test_rows_that_are_all_the_same_are_equally_odd(row: float) -> None:
    picks = odd(np.full((30, 5), row, np.float16), 3, seed=0)
    assert picks.positions.tolist() == [0, 1, 2] and (picks.scores == 0).all()


def test_odd_images_found_with_a_sample_are_those_of_all_pairs_and_it_says_when_they_may_not_be() -> None:
    x, _ = heaps([300, 200, 100], width=0.6)
    x = np.concatenate([x, noise(20, d=32, seed=5)])
    expected = oddest(x, 20, 10, seed=0)
    found = oddest(x, 20, 10, seed=0, sample=100, fewest=200)
    assert expected.certain and np.array_equal(found.positions, expected.positions)
    assert np.allclose(found.oddness, expected.oddness)
    assert not oddest(noise(600), 20, 10, seed=0, sample=50, fewest=21).certain


def test_strangers_with_up_to_ten_copies_come_first() -> None:
    x, _ = heaps([500, 300, 100], width=0.4)
    strangers = noise(4, d=32, seed=9)
    x = np.concatenate([x, strangers, strangers[[0, 0, 1]]])
    assert set(odd(x, 7, seed=0).positions) == set(range(900, 907))


def test_only_a_stranger_is_said_to_be_far_from_everything() -> None:
    x, _ = heaps([500, 300, 100], width=0.4)
    picks = odd(np.concatenate([x, noise(4, d=32, seed=9)]), 904, seed=0)
    told = dict(zip(picks.positions.tolist(), [reason.partition(":")[0] for reason in picks.reasons]))
    assert {told.pop(stranger) for stranger in range(900, 904)} == {"far from everything"}
    assert list(told.values()).count("far from everything") < 0.02 * 900
    assert list(told.values()).count("not odd") == 904 / 2
    assert set(told.values()) == {"far from everything", "farther from others than most", "not odd"}


def test_what_is_usual_does_not_depend_on_the_size_of_the_sample() -> None:
    x, _ = heaps([500, 300, 100], width=0.4)
    whole, sampled = oddest(x, 5, 10, seed=0), oddest(x, 5, 10, seed=0, sample=100, fewest=200)
    assert (sampled.usual, sampled.far) == pytest.approx((whole.usual, whole.far))


def test_quotas_are_equal_at_every_level() -> None:
    x, _ = long_tail(1500, 12, seed=0)
    found = hierarchical_kmeans(x, [96, 12], seed=0)
    quotas = leaf_quotas(found, 200)
    images = [np.bincount(found.labels(i)) for i in range(2)]
    assert quotas.sum() == 200 and (quotas <= images[0]).all()
    parent = found.levels[1].labels
    taken = np.bincount(parent, weights=quotas).astype(int)
    assert taken.tolist() == equal_shares(images[1], 200).tolist()
    for cluster in range(12):
        own = parent == cluster
        assert quotas[own].tolist() == equal_shares(images[0][own], int(taken[cluster])).tolist()


@pytest.mark.parametrize("seed", range(3))
def test_a_balanced_pick_is_more_even_than_a_random_one_and_than_k_means_alone(seed: int) -> None:
    x, labels = long_tail(6000, 40, seed)
    n = 400
    random = labels[np.random.default_rng(seed).choice(len(x), n, replace=False)]
    alone = labels[balanced(x, n, seed=seed, sizes=[40]).positions]
    ours = labels[balanced(x, n, seed=seed, sizes=[375, 46]).positions]
    assert perplexity(ours) > perplexity(alone) + 2 > perplexity(random) + 2


def test_the_beginning_of_a_balanced_pick_is_balanced() -> None:
    x, _ = heaps([200, 100, 60, 40], width=0.2)
    picks = balanced(x, 80, seed=0, sizes=[20, 4])
    assert np.bincount(picks.clusters[:40], minlength=4).tolist() == [10] * 4


def test_levels_fall_by_eight_down_to_24() -> None:
    assert level_sizes(1_000_000) == [8192, 1024, 128]
    assert level_sizes(6882) == [860, 107] and level_sizes(100) == [12]


# Duplicates


def slow_groups(x: Whitened, threshold: float) -> list[list[int]]:
    """Return the groups by a walk over all pairs."""
    exact, left, groups = x.astype(np.float64), set(range(len(x))), []
    while left:
        group, border = set(), [min(left)]
        while border:
            i = border.pop()
            group.add(i)
            border += [j for j in left - group if float(exact[i] @ exact[j]) >= threshold and j not in border]
        left -= group
        groups += [sorted(group)] if len(group) > 1 else []
    return sorted(groups, key=lambda group: (-len(group), group[0]))


def with_copies(seed: int, n: int = 120) -> Whitened:
    rng = np.random.default_rng(seed)
    x = noise(n, seed=seed).astype(np.float64)
    return unit(np.concatenate([x, x[rng.integers(0, n, n)] + 0.05 * rng.standard_normal((n, 24))]))


@pytest.mark.parametrize("seed", range(3))
def test_groups_of_duplicates_are_those_of_all_pairs(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("divcon.curation.duplicates.BLOCK", 31)
    x = with_copies(seed)
    found = duplicate_groups(x, 0.93, seed=0)
    assert [group.positions.tolist() for group in found] == slow_groups(x, 0.93)
    for group in found:
        products = x[group.positions].astype(np.float64) @ x[group.positions].astype(np.float64).T
        np.fill_diagonal(products, -1)
        assert np.allclose(group.cosines, products.max(1))


def test_chains_of_links_are_one_group() -> None:
    angles = np.arange(60) * 0.05
    x = unit(np.stack([np.cos(angles), np.sin(angles)], 1))[np.random.default_rng(0).permutation(60)]
    assert [len(group.positions) for group in duplicate_groups(x, math.cos(0.06), seed=0)] == [60]


def test_clusters_miss_few_duplicates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("divcon.curation.duplicates.IMAGES", 40)
    x = with_copies(0, n=1500)
    of_all = duplicate_groups(x, 0.93, seed=0)
    of_clusters = duplicate_groups(x, 0.93, seed=0, direct=10)
    everyone = {int(i) for group in of_all for i in group.positions}
    found = {int(i) for group in of_clusters for i in group.positions}
    assert found <= everyone and len(found) > 0.97 * len(everyone)


def test_where_nothing_is_alike_there_is_no_group() -> None:
    assert duplicate_groups(noise(50), 0.99, seed=0) == []
