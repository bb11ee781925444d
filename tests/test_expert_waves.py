"""The time of experts that groups of processes do side by side, against a clock that ticks and against every way to share."""

import itertools
import random

import pytest

from divcon.api.expert_waves import seconds_on_groups


def ticked(durations: list[int], groups: int) -> int:
    """The seconds by a clock: at each tick, each group without work takes the longest expert that is left."""
    left, working, now = sorted(durations), [0] * groups, 0
    while left or any(working):
        working = [rest or (left.pop() if left else 0) for rest in working]
        working = [max(0, rest - 1) for rest in working]
        now += 1
    return now


def shortest(durations: list[int], groups: int) -> int:
    """The shortest time of all ways to share."""
    return min(
        max(sum(d for d, its in zip(durations, shared) if its == group) for group in range(groups))
        for shared in itertools.product(range(groups), repeat=len(durations))
    )


@pytest.mark.parametrize("seed", range(30))
def test_groups_that_take_the_longest_first_end_when_a_clock_says_so(seed: int) -> None:
    draw = random.Random(seed)
    durations = [draw.randint(1, 20) for _ in range(draw.randint(1, 7))]
    groups = draw.randint(1, 3)
    found = seconds_on_groups(durations, groups)
    assert found == ticked(durations, groups)
    assert shortest(durations, groups) <= found <= (4 / 3 - 1 / (3 * groups)) * shortest(durations, groups)


def test_one_group_does_one_after_the_other_and_enough_groups_wait_for_the_longest() -> None:
    assert (
        seconds_on_groups([3, 1, 2], 1) == 6 and seconds_on_groups([3, 1, 2], 3) == seconds_on_groups([3, 1, 2], 9) == 3
    )


def test_nothing_to_do_takes_no_time() -> None:
    assert seconds_on_groups([], 4) == 0
