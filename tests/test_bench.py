"""The benches' own machinery, and each of our sides once, small. Peers are not needed here."""

import io
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch.profiler import ProfilerActivity, profile

from benchmarks import bench_allocator, bench_busy, bench_dnc, bench_memory, bench_profile, bench_startup, draw, pairs
from benchmarks.bench_step import CASES
from benchmarks.sides import Side
from benchmarks.steps import Case, Ours
from divcon import allocator
from divcon.api.run_plan import prepare_run
from divcon.data.pixels.pixel_cache import CachedPixels
from divcon.machine import Machine


class Environment:
    """Answers with a variable of the environment of its process."""

    def __init__(self, name: str):
        self.name = name

    def value(self) -> str | None:
        return os.environ.get(self.name)

    def close(self) -> None:
        """Nothing is left open."""


def tiny(case: Case) -> Case:
    return replace(case, batch=4, size=16, picture=16, steps=1)


def test_each_of_two_begins_every_second_round() -> None:
    begun: list[str] = []
    taken = pairs.by_turns([lambda: begun.append("a"), lambda: begun.append("b")], 3, warmup=1)
    assert "".join(begun) in ("abbaabba", "baabbaab")
    assert [len(seconds) for seconds in taken] == [3, 3] and min(map(min, taken)) > 0


def test_a_ratio_is_the_median_of_pairs_and_not_the_ratio_of_medians() -> None:
    ratio = pairs.over([1.0, 2.0, 4.0], [3.0, 2.0, 40.0])
    assert (ratio.ratio, ratio.low, ratio.high) == (3.0, 1.0, 10.0)


def test_a_ceiling_is_met_from_below_and_a_floor_from_above() -> None:
    assert pairs.met(pairs.row("", "", 0.9, 0, 1, 1.0, at_most=True)) and not pairs.met(
        pairs.row("", "", 0.9, 0, 1, 1.0)
    )
    assert pairs.met(pairs.row("", "", 0.9, 0, 1)) is None


def test_a_result_is_kept_with_its_machine_and_without_a_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "RESULTS", tmp_path)
    monkeypatch.setattr("platform.node", lambda: "somebodys-own-host")
    path = pairs.save("thing", iter([pairs.row("a case", "a peer", 2.0, 1.5, 2.5, 1.9)]))
    (result,) = draw.newest(tmp_path)
    assert result["machine"]["versions"]["torch"] and result["rows"][0]["ratio"] == 2.0
    assert "somebodys-own-host" not in path.name + path.read_text()


def test_the_other_side_is_another_process() -> None:
    with Side(io.StringIO, "hello") as side:
        assert side.ask("getvalue") == "hello" and side.process.pid != os.getpid()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_our_side_of_every_step_still_runs(case: Case) -> None:
    ours = Ours(tiny(case), Machine())
    ours.steps()
    figures = ours.figures()
    assert figures["images_per_second"] > 0 and 0 < figures["data_wait"] + figures["normalizing"] < 1


def test_products_that_stand_for_convolutions_count_as_convolutions() -> None:
    ours = Ours(replace(bench_profile.CASE, batch=4, size=16, picture=16), Machine())
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        ours.steps()
    share = bench_profile.by_operation(profiled)
    assert share["convolution as a product"] > 0 and 0.2 < bench_profile.convolutions(share) < 1
    assert sum(share.values()) == pytest.approx(1)


def test_a_collection_without_files_is_opened_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_memory, "STEPS", 2)
    monkeypatch.setattr(bench_memory, "BATCH", 4)
    opened: list[int] = []
    monkeypatch.setattr(CachedPixels, "__len__", lambda self: opened.append(len(self.rows)) or len(self.rows))
    bench_memory.write_collection(tmp_path, 300)
    assert bench_memory.trained(tmp_path)["whole"] > 0 and 300 in opened


def test_a_stage_that_goes_on_says_what_its_steps_took() -> None:
    stage = bench_allocator.Stage(tiny(bench_allocator.SOME[0]), Machine())
    seconds, pages = stage.turn()
    stage.close()
    assert seconds > 0 and pages >= 0 and allocator.depth == 0


def test_a_setting_of_waiting_threads_is_that_of_its_own_process_only() -> None:
    before = dict(os.environ)
    setting = bench_busy.settings(1)[1]
    with bench_busy.side(Environment, setting, next(iter(setting.environment))) as side:
        assert side.ask("value") == setting.environment["OMP_WAIT_POLICY"] and dict(os.environ) == before


@pytest.mark.parametrize("kind", bench_dnc.KINDS)
def test_every_kind_of_run_can_be_asked_for(kind: str, photos: Path, tmp_path: Path, cache: Path) -> None:
    asked: dict[str, Any] = {**bench_dnc.OPTIONS, **bench_dnc.KINDS[kind], "precision": "fp32", "cache": cache}
    assert prepare_run(photos, tmp_path / "run", asked).record.options["encoder"] == "slim10"


def test_the_first_batch_of_views_is_still_made_so() -> None:
    exec(bench_startup.FIRST_BATCH, {})


def test_the_page_begins_with_what_was_missed() -> None:
    rows = [pairs.row("one case", "a peer", 2.0, 1.5, 2.5, 1.9), pairs.row("another", "a peer", 1.0, 0.9, 1.1, 1.9)]
    described = {
        "cpu": "a", "kind": "b", "cores": 2, "memory_gb": 4, "flags": [], "os": "c", "python": "d", "versions": {},
        "load_at_start": [0.0], "commit": "",
    }  # fmt: skip
    page = draw.page([{"what": "step", "date": "2026-01-01", "machine": described, "rows": rows}])
    before, after = page.split("![", 1)
    assert "1 of 2 aims are met" in before and "another: 1x" in before and "one case" not in before
    assert "| one case | a peer | 2x (1.5 to 2.5) | at least 1.9x | yes |" in after


def test_the_page_shows_the_newest_results() -> None:
    assert draw.PAGE.read_text() == draw.page(draw.newest()), "draw it again: python -m benchmarks.draw"
