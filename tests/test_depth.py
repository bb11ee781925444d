"""A depth for each pixel: the layout, the measures beside loops, and an FCN that learns depth from brightness."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from test_pipeline import typed

import divcon
from divcon.data.labeled.depths import open_depths, read_depth
from divcon.errors import DataError, FaultError, UsageError
from divcon.evals.depth import depth_measures, reverse_huber

UNTRAINED = "random:slim10_w8"


def slope(number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """A picture that is brighter where it is further away, from 1 to 6 meters, and its depths; some are not known."""
    rng = np.random.default_rng(number)
    angle = rng.random() * 2 * math.pi
    y, x = np.mgrid[-1:1:48j, -1:1:64j]
    meters = 3.5 + 1.7 * (x * math.cos(angle) + y * math.sin(angle))
    depth = (1000 * meters).astype(np.uint16)
    depth[rng.random(depth.shape) < 0.1] = 0
    gray = np.clip(meters * 40 + rng.normal(0, 5, meters.shape), 0, 255).astype(np.uint8)
    return np.repeat(gray[:, :, None], 3, 2), depth


def write(root: Path, n: int = 32, test: int = 8) -> Path:
    for number in range(n):
        folder = root / ("test" if number < test else "train") / f"scene{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        picture, depth = slope(number)
        Image.fromarray(picture).save(folder / f"rgb_{number:05}.png")
        Image.fromarray(depth).save(folder / f"sync_depth_{number:05}.png")
    return root


def test_the_measures_are_those_of_the_loop() -> None:
    rng = np.random.default_rng(0)
    true = [rng.uniform(0.5, 5, (4, 5)) * (rng.random((4, 5)) < 0.8) for _ in range(3)]
    told = [depth * rng.uniform(0.6, 1.7, depth.shape) + rng.normal(0, 0.1, depth.shape) for depth in true]
    pairs = [(p, t) for a, b in zip(told, true) for p, t in zip(a.ravel(), b.ravel()) if t > 0]
    found = depth_measures(told, true)
    for name, most in (("1.25", 1.25), ("1.562", 1.25**2), ("1.953", 1.25**3)):
        right = sum(max(p / t, t / p) < most for p, t in pairs if p > 0)
        assert found[f"within a factor of {name}"] == pytest.approx(right / len(pairs))
    assert found["relative error"] == pytest.approx(sum(abs(max(p, 1e-3) - t) / t for p, t in pairs) / len(pairs))
    assert found["rms in meters"] == pytest.approx(
        math.sqrt(sum((max(p, 1e-3) - t) ** 2 for p, t in pairs) / len(pairs))
    )


def test_the_reverse_huber_loss_is_that_of_the_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    told, true = torch.rand(2, 3, 4, generator=generator) * 4, torch.rand(2, 3, 4, generator=generator) * 4
    true[true < 0.5] = 0
    errors = [abs(p - t) for p, t in zip(told.ravel().tolist(), true.ravel().tolist()) if t > 0]
    c = 0.2 * max(errors)
    expected = sum(e if e <= c else (e * e + c * c) / (2 * c) for e in errors) / len(errors)
    assert float(reverse_huber(told, true)) == pytest.approx(expected, rel=1e-5)
    assert float(reverse_huber(told, torch.zeros_like(true))) == 0


def test_depths_are_read_in_meters(tmp_path: Path, cache: Path) -> None:
    data = open_depths(write(tmp_path / "rooms"), cache=cache)
    assert (len(data.train), len(data.test), data.left_out) == (24, 8, {"no_depth": 0})
    names = data.images.names(np.arange(32))
    for name, file in zip(names, data.files, strict=True):
        number = int(name.decode()[-9:-4])
        assert read_depth(file) == pytest.approx(slope(number)[1] / 1000)
    assert {name.split(b"/")[0] for name, i in zip(names, range(32)) if i in set(data.test)} == {b"test"}


def test_depths_that_can_not_be_used_are_named(tmp_path: Path, cache: Path) -> None:
    root = write(tmp_path / "rooms", 6, 3)
    (root / "train" / "scene0" / "sync_depth_00003.png").unlink()
    data = open_depths(root, cache=cache)
    assert data.left_out == {"no_depth": 1} and len(data.train) == 2
    bad = root / "train" / "scene1" / "sync_depth_00004.png"
    Image.new("RGB", (64, 48)).save(bad)
    with pytest.raises(DataError, match=r"00004\.png is no map of depths"):
        read_depth(bad)
    bad.write_bytes(b"\x89PNG no")
    with pytest.raises(DataError, match=r"00004\.png can't be read"):
        read_depth(bad)
    for wrong in ("train,elsewhere", "train", "train,../rooms"):
        with pytest.raises(UsageError, match="two folders of split="):
            open_depths(root, split=wrong, cache=cache)
    with pytest.raises(DataError, match="no images rgb_NAME"):
        open_depths(root, exclude="test/*", cache=cache)
    for file in root.rglob("rgb_*"):
        file.rename(file.with_name(file.name.removeprefix("rgb_")))
    with pytest.raises(DataError, match="no images rgb_NAME"):
        open_depths(root, cache=cache)


def test_a_training_that_diverges_has_no_score(tmp_path: Path) -> None:
    root, quick = write(tmp_path / "rooms", 6, 3), {"depth.epochs": 1, "depth.side": 32, "depth.rate": 1e20}
    with pytest.raises(FaultError, match="is not finite: the training of the task has diverged; lower its rate="):
        divcon.evaluate(UNTRAINED, root, tasks="depth", settings=quick)


def test_a_network_learns_depth_and_is_the_same_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    root = write(tmp_path / "rooms")
    words = ["eval", UNTRAINED, str(root), "tasks=depth", "depth.epochs=15", "depth.batch_size=8", "--json"]
    answers = []
    for _ in range(2):
        assert typed(words) == 0
        answers.append(json.loads(capsys.readouterr().out)["tasks"]["depth"])
    assert answers[0] == answers[1]
    true = [slope(number)[1] / 1000 for number in range(8)]
    constant = depth_measures([np.full((48, 64), 3.5)] * 8, true)
    assert answers[0]["score"] > constant["within a factor of 1.25"] + 0.15
    assert answers[0]["table"][0]["rms in meters"] < 0.7 * constant["rms in meters"]
