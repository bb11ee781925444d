"""The command takes as many ranks as a measurement finds fastest, once for a machine, and one where a run is short."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from processes import done

from divcon.api import auto_ranks
from divcon.api.auto_ranks import LONG, with_auto_ranks
from divcon.machine import Machine
from divcon.nets.trained import InputSpec
from divcon.pipelines.single import Single
from divcon.runs.recorder import PlannedStage
from divcon.stages.learning import TrainingPlan
from divcon.stages.pretrain import Pretrain

FOUR = Machine(compute_threads=4)


def planned(images: float = 2 * LONG, batch_size: int = 64) -> tuple[Single, list[PlannedStage]]:
    base = Pretrain(samples_seen=images, batch_size=batch_size, input_spec=InputSpec(32))
    return Single(base=base), [PlannedStage("base", "base", TrainingPlan(base, 1000))]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of ranks whose speed was asked for; four ranks are the fastest."""
    return measuring(monkeypatch, {1: 100.0, 2: 140.0, 4: 180.0})


def measuring(monkeypatch: pytest.MonkeyPatch, speeds: Mapping[int, float]) -> list[int]:
    asked = list[int]()

    def speed_of(machine: Machine, ranks: int) -> float:
        asked.append(ranks)
        return speeds[ranks]

    monkeypatch.setattr(auto_ranks, "speed_of", speed_of)
    monkeypatch.setattr(auto_ranks, "MEMORY", 1)  # the tests pass on a machine with little memory
    return asked


def test_the_fastest_number_of_ranks_is_taken_and_measured_once(asked: list[int], tmp_path: Path) -> None:
    for _ in range(2):
        found = with_auto_ranks(FOUR, *planned(), tmp_path)
        assert (found.ranks, found.compute_threads) == (4, 1)
    assert sorted(asked) == [1, 2, 4]


def test_a_small_gain_is_not_worth_more_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    measuring(monkeypatch, {1: 100.0, 2: 105.0, 4: 109.0})
    assert with_auto_ranks(FOUR, *planned(), tmp_path) == FOUR


def test_ranks_that_can_not_share_a_batch_are_not_tried(asked: list[int], tmp_path: Path) -> None:
    assert with_auto_ranks(FOUR, *planned(batch_size=66), tmp_path).ranks == 2
    assert sorted(asked) == [1, 2]


def test_a_short_run_and_a_single_core_are_not_measured(asked: list[int], tmp_path: Path) -> None:
    assert with_auto_ranks(FOUR, *planned(images=LONG / 2), tmp_path) == FOUR
    assert with_auto_ranks(Machine(), *planned(), tmp_path) == Machine()
    assert asked == [] and not list(tmp_path.iterdir())


def test_a_damaged_measurement_is_made_again(asked: list[int], tmp_path: Path) -> None:
    (tmp_path / "ranks.json").write_text("{")
    assert with_auto_ranks(FOUR, *planned(), tmp_path).ranks == 4 and len(asked) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ranks=x"], "ranks=x: input should be a valid integer; ranks=x: input should be 'auto'"),
        (["ranks=0"], "ranks=0: input should be greater than or equal to 1; ranks=0: input should be 'auto'"),
        (["ranks=true"], "ranks=True: input should be a valid integer; ranks=True: input should be 'auto'"),
        (["ranks=2", "expert.ranks=0"], "expert.ranks=0: input should be greater than or equal to 1"),
        (
            ["ranks=2", "expert.ranks=4"],
            "expert.ranks=4: an expert can't have more ranks than the run; type ranks=4, or more",
        ),
        (
            ["ranks=3", "batch_size=16"],
            "base.batch_size=16: it can't be shared by 3 ranks alike; type a multiple of 3, like base.batch_size=18",
        ),
        (["only=experts/0"], "only=: type --only experts/0"),
        (["steal_lock=true"], "steal_lock=: type --steal-lock"),
    ],
)
def test_what_is_typed_wrong_is_said_with_what_to_type(
    words: list[str], said: str, photos: Path, tmp_path: Path
) -> None:
    code, all_said = done(["run", str(photos), f"out={tmp_path / 'run'}", "epochs=2", "size=32", *words])
    assert (code, all_said.strip().splitlines()[-1]) == (64, f"divcon: {said}")
    assert not (tmp_path / "run").exists()
