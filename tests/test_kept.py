"""The cache of the teachers' targets for center views."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY
from test_methods import SIGHT, N, toy_pixels, toy_teachers

import divcon
from divcon import signals
from divcon.data.views.presets import center
from divcon.data.views.render import views_of
from divcon.errors import StoppedError
from divcon.files.integrity import sha256
from divcon.log import Progress
from divcon.machine import Machine
from divcon.nets.net import Layer
from divcon.train import target_cache
from divcon.train.encode import to_input


@pytest.mark.parametrize("place", ["pool", "projection"])
def test_what_is_kept_is_what_the_base_and_each_images_own_expert_say_of_its_center_view(
    place: Layer, tmp_path: Path
) -> None:
    pixels, teachers, everything = toy_pixels(), toy_teachers(place), np.arange(N)
    positions = [everything, everything[::3], everything[1::3], everything[2::3]]
    said = target_cache.cache_targets(
        tmp_path / "teacher_targets.npy",
        [target_cache.AssignedTeacher(*lesson) for lesson in zip(teachers, positions)],
        SIGHT,
        pixels,
        Machine(),
    )
    index = torch.tensor([5, 0, 63, 7, 5])
    views = to_input(views_of(center(SIGHT.size), *pixels.read(index.numpy()), (), index.numpy()), SIGHT, Machine())
    expected = torch.stack(
        [
            torch.stack([teachers[0](view[None])[0], teachers[1 + int(i) % 3](view[None])[0]])
            for i, view in zip(index, views)
        ]
    )
    assert torch.allclose(said(index), expected, rtol=2e-3, atol=2e-3 * float(expected.abs().max()))


def test_what_was_kept_is_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lessons = [target_cache.AssignedTeacher(teacher, np.arange(N)) for teacher in toy_teachers()[:2]]
    first = target_cache.cache_targets(tmp_path / "teacher_targets.npy", lessons, SIGHT, toy_pixels(), Machine())
    monkeypatch.delattr(target_cache, "encode")
    again = target_cache.cache_targets(tmp_path / "teacher_targets.npy", lessons, SIGHT, toy_pixels(), Machine())
    assert np.array_equal(first.targets, again.targets)


def test_a_student_of_kept_teachers_ends_in_the_same_bits_when_it_is_stopped_and_leaves_nothing_behind(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**TINY, "epochs": 2, "student.teacher_view": "center"}
    whole = divcon.run(photos, out=tmp_path / "whole", **options).folder
    asked: list[int] = []
    monkeypatch.setattr(signals, "_received", asked)

    def stop_the_student(tick: Progress) -> None:
        if tick.what == "student" and tick.done == 2:
            asked.append(15)

    monkeypatch.setattr("divcon.log.watch", stop_the_student)
    with pytest.raises(StoppedError):
        divcon.run(photos, out=tmp_path / "stopped", **options)
    asked.clear()
    assert (tmp_path / "stopped" / "student" / "teacher_targets.npy").is_file()
    stopped = divcon.run(photos, out=tmp_path / "stopped", **options).folder
    assert [sha256(run / "student" / "encoder.safetensors") for run in (whole, stopped)] == [
        sha256(whole / "student" / "encoder.safetensors")
    ] * 2
    assert not list(tmp_path.rglob("teacher_targets.npy*"))
