"""The order of the images and their random numbers: pure functions, for any split and any size."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from divcon.data.sampler import Sampler, shuffled
from divcon.rng import seed_for, uniforms


def passes(order: Sampler, steps: int, world: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of all steps, in order, and their epochs."""
    batches = [order.batch(step, rank, world) for step in range(steps) for rank in range(world)]
    positions, epochs = zip(*batches)
    return np.concatenate(positions), np.concatenate(epochs)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 3000), key=st.integers(0, 2**63 - 1))
def test_each_pass_is_a_permutation(n: int, key: int) -> None:
    assert np.array_equal(np.sort(shuffled(np.arange(n), n, key)), np.arange(n))


@settings(max_examples=40, deadline=None)
@given(n=st.integers(2, 200), batch=st.integers(1, 64), seed=st.integers(0, 2**31))
def test_order_runs_on_over_the_ends_of_passes_and_drops_nothing(n: int, batch: int, seed: int) -> None:
    order = Sampler(n, batch, seed)
    positions, epochs = passes(order, -(-3 * n // batch))
    assert np.array_equal(epochs[: 3 * n], np.repeat(np.arange(3), n))
    for epoch in range(3):
        assert np.array_equal(np.sort(positions[epoch * n : (epoch + 1) * n]), np.arange(n))


@pytest.mark.parametrize("world", [2, 3, 4])
def test_the_parts_of_the_ranks_are_the_batch_of_one(world: int) -> None:
    order = Sampler(50, 24, seed=3)
    for step in range(7):
        parts = [order.batch(step, rank, world) for rank in range(world)]
        whole = order.batch(step)
        assert {len(part[0]) for part in parts} == {24 // world}
        assert np.array_equal(np.concatenate([part[0] for part in parts]), whole[0])
        assert np.array_equal(np.concatenate([part[1] for part in parts]), whole[1])


def test_a_pass_is_said_to_begin_once_each_pass() -> None:
    order = Sampler(50, 16)
    begins = [step for step in range(40) if order.begins_epoch(step)]
    assert begins[0] == 0 and [order.epoch(step) for step in begins] == list(range(len(begins)))
    assert all(order.epoch(step) == order.batch(step)[1][0] for step in range(40))


def test_seeds_and_passes_have_orders_of_their_own() -> None:
    orders = {tuple(passes(Sampler(40, 40, seed), 3)[0]) for seed in range(20)}
    assert len(orders) == 20
    positions, _ = passes(Sampler(40, 40), 20)
    assert len({tuple(row) for row in positions.reshape(20, 40)}) == 20


def test_any_image_comes_at_any_place_as_often() -> None:
    n, draws = 40, 4000
    at = np.stack([shuffled(np.arange(n), n, seed_for("any", key)) for key in range(draws)])
    seen = np.stack([np.bincount(column, minlength=n) for column in at.T])
    assert stats.chisquare(seen.ravel()).pvalue > 1e-3


def test_neighbors_in_one_pass_are_not_neighbors_in_the_next() -> None:
    n = 5000
    one, other = (shuffled(np.arange(n), n, seed_for("pass", epoch)) for epoch in range(2))
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.06 and abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 0.06
    followers = set(pairwise(one.tolist()))
    assert sum(pair in followers for pair in pairwise(other.tolist())) < 12


def test_a_trillion_images_take_no_memory() -> None:
    n = 10**12
    tracemalloc.start()
    positions, epochs = Sampler(n, 256).batch(3 * 10**9 + 7)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20
    assert len(set(positions.tolist())) == 256 and positions.min() >= 0 and positions.max() < n
    assert positions.max() > n / 2 and (epochs == (3 * 10**9 + 7) * 256 // n).all()


def test_a_batch_may_span_many_passes() -> None:
    positions, epochs = Sampler(3, 10).batch(1)
    assert epochs.tolist() == [3, 3, 4, 4, 4, 5, 5, 5, 6, 6]
    assert sorted(positions[2:5]) == sorted(positions[5:8]) == [0, 1, 2]


# random numbers


@settings(max_examples=50, deadline=None)
@given(cuts=st.lists(st.integers(0, 64), max_size=5), n=st.integers(1, 9))
def test_random_numbers_are_the_same_for_any_split_of_the_index(cuts: list[int], n: int) -> None:
    index = np.arange(64) * 7919 + 10**13
    whole = uniforms((1, "view"), index, n)
    parts = [uniforms((1, "view"), part, n) for part in np.split(index, sorted(cuts))]
    assert np.array_equal(np.concatenate(parts), whole)
    backwards = uniforms((1, "view"), index[::-1], n)
    assert np.array_equal(backwards[::-1], whole)


def test_random_numbers_are_uniform_and_independent() -> None:
    u = uniforms((0, "test"), np.arange(20_000), 4)
    assert u.min() >= 0 and u.max() < 1
    assert all(stats.kstest(lane, "uniform").pvalue > 1e-3 for lane in u.T)
    pairs = [*np.corrcoef(u.T)[np.triu_indices(4, 1)], *(np.corrcoef(lane[1:], lane[:-1])[0, 1] for lane in u.T)]
    assert max(abs(r) for r in pairs) < 0.03


def test_every_part_of_a_purpose_counts() -> None:
    purposes = [(0, "a"), (1, "a"), (0, "b"), ("0", "a"), (0, "a", 0), ("0a",), (0, "ab"), ("a", 0)]
    seen = {uniforms(purpose, np.arange(1), 1).item() for purpose in purposes}
    assert len(seen) == len(purposes)


def test_a_seed_fits_where_seeds_go() -> None:
    seeds = [seed_for(seed, "step", step) for seed in range(30) for step in range(30)]
    assert len(set(seeds)) == 900 and all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62
