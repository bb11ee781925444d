"""Images that look alike: they are found, counted, and kept or dropped."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY
from numpy.typing import NDArray
from PIL import Image
from test_decode import encoded
from test_pipeline import typed

import divcon
from divcon.data.decoding.decode import decode
from divcon.data.images import open_images
from divcon.data.index import near_duplicates
from divcon.data.index.index import Index
from divcon.data.index.near_duplicates import THUMBNAIL_BYTES, find_near_duplicates, thumbnail
from divcon.errors import UsageError

Pixels = NDArray[np.uint8]


def cloudy(seed: int, height: int = 120, width: int = 160) -> Image.Image:
    """Return an image of soft colors; two seeds differ as two photographs do."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def summary(data: bytes) -> bytes:
    return thumbnail(decode(data).pixels)


def alike(a: bytes, b: bytes, shapes: tuple[float, float] = (4 / 3, 4 / 3)) -> bool:
    sums = np.frombuffer(a + b, np.uint8).reshape(2, THUMBNAIL_BYTES)
    return bool(find_near_duplicates(sums, np.array(shapes))[1] == 0)


AGAIN: dict[str, Callable[[Image.Image], bytes]] = {
    "as a good JPEG": lambda image: encoded("JPEG", image, quality=90),
    "as a poor JPEG": lambda image: encoded("JPEG", image, quality=40),
    "as WebP": lambda image: encoded("WEBP", image),
    "at half the size": lambda image: encoded("PNG", image.resize((80, 60), Image.Resampling.LANCZOS)),
    "at twice the size": lambda image: encoded("JPEG", image.resize((320, 240), Image.Resampling.BICUBIC)),
    "a little brighter": lambda image: encoded("PNG", image.point(lambda value: min(255, value + 1))),
}


@pytest.mark.parametrize("how", AGAIN)
def test_a_picture_saved_again_looks_like_itself(how: str) -> None:
    assert all(alike(summary(encoded("PNG", cloudy(i))), summary(AGAIN[how](cloudy(i)))) for i in range(20))


def test_other_pictures_look_like_none() -> None:
    sums = np.frombuffer(b"".join(summary(encoded("PNG", cloudy(i))) for i in range(200)), np.uint8).reshape(
        200, THUMBNAIL_BYTES
    )
    assert (find_near_duplicates(sums, np.ones(200)) == -1).all()


OTHERS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turned": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "negative": lambda image: image.point(lambda value: 255 - value),
    "cut": lambda image: image.crop((40, 30, 160, 120)),
    "redder": lambda image: Image.merge("RGB", [band.point(lambda v, i=i: v + 30 * (i == 0)) for i, band in enumerate(image.split())]),
}  # fmt: skip


@pytest.mark.parametrize("how", OTHERS)
def test_what_looks_different_is_no_near_duplicate(how: str) -> None:
    assert not any(
        alike(summary(encoded("PNG", cloudy(i))), thumbnail(np.asarray(OTHERS[how](cloudy(i))))) for i in range(20)
    )


def test_plain_pictures_of_different_colors_are_different() -> None:
    plain = [
        thumbnail(np.full((20, 20, 3), color, np.uint8))
        for color in ((255, 0, 0), (0, 130, 0), (0, 0, 255), (90, 90, 90))
    ]
    assert (
        find_near_duplicates(np.frombuffer(b"".join(plain), np.uint8).reshape(4, THUMBNAIL_BYTES), np.ones(4)) == -1
    ).all()


def test_a_picture_of_another_shape_is_another_picture() -> None:
    data = summary(encoded("PNG", cloudy(0)))
    assert alike(data, data) and not alike(data, data, (4 / 3, 1.0))


def test_near_duplicates_are_those_of_the_loop() -> None:
    """A loop compares every pair of images, some of which are copies with small differences."""
    rng = np.random.default_rng(0)
    first = rng.integers(0, 256, (40, THUMBNAIL_BYTES)).astype(np.int64)
    noisy = [np.clip(row + rng.integers(-2, 3, (rng.integers(1, 5), THUMBNAIL_BYTES)), 0, 255) for row in first]
    sums = rng.permutation(np.concatenate([first, *noisy])).astype(np.uint8)
    expected = [-1] * len(sums)
    for i, row in enumerate(sums.astype(int)):
        for j in range(i):
            apart = np.abs(row - sums[j].astype(int))
            grays, colors = apart[: near_duplicates.GRAYS], apart[near_duplicates.GRAYS :]
            if expected[j] < 0 and grays.mean() <= 2 and grays.max() <= 12 and colors.max() <= 8:
                expected[i] = j
                break
    assert find_near_duplicates(sums, np.ones(len(sums))).tolist() == expected and min(expected) < max(expected)


def test_a_thousand_savings_of_one_picture_leave_one() -> None:
    sums = np.clip(128 + np.random.default_rng(0).integers(-1, 2, (1000, THUMBNAIL_BYTES)), 0, 255).astype(np.uint8)
    assert (find_near_duplicates(sums, np.ones(1000)) >= 0).mean() > 0.8


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make forty images; eight of them are saved again, and one of those is copied."""
    folder = tmp_path_factory.mktemp("near") / "photos"
    folder.mkdir()
    for i in range(40):
        (folder / f"{i:02}.png").write_bytes(encoded("PNG", cloudy(i, 24, 32)))
    for i in range(8):
        (folder / f"{i:02}-again.jpg").write_bytes(encoded("JPEG", cloudy(i, 24, 32), quality=95))
    (folder / "copy.jpg").write_bytes((folder / "00-again.jpg").read_bytes())
    return folder


def same(index: Index, folder: Path) -> list[dict[str, str]]:
    index.save(folder)
    with (folder / "duplicates.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_near_duplicates_are_counted_and_kept(photos: Path, cache: Path, tmp_path: Path) -> None:
    index = open_images(photos, cache=cache).index
    assert (index.used, index.duplicates, index.near_duplicates) == (48, 1, 8)
    rows = same(index, tmp_path)
    assert sorted(row["kind"] for row in rows) == ["copy"] + ["near_kept"] * 8
    assert all(row["path"][:2] == row["same_as"][:2] for row in rows if row["kind"] == "near_kept")


def test_near_duplicates_are_dropped_by_an_option(photos: Path, cache: Path, tmp_path: Path) -> None:
    index = open_images(photos, near_duplicates="drop", cache=cache).index
    assert (index.used, index.duplicates, index.near_duplicates, index.rejected) == (40, 9, 8 + _copy_went(index), 0)
    assert index.found == index.used + index.duplicates + index.rejected
    used = {name.decode()[:2] for name in index.table["path_bytes"].to_pylist()[: index.used]}
    assert used == {f"{i:02}" for i in range(40)} or used - {"co"} >= {f"{i:02}" for i in range(1, 40)}
    kinds = [row["kind"] for row in same(index, tmp_path)]
    assert kinds.count("near_dropped") >= 8 and len(kinds) == 9


def _copy_went(index: Index) -> bool:
    """Return true if the copied image of a pair was dropped, and its copy with it."""
    rows = {row["path_bytes"]: row for row in index.table.to_pylist()}
    return bool(rows[b"copy.jpg"]["duplicate_of"] != rows[b"copy.jpg"]["hash"])


def test_which_is_used_does_not_depend_on_names(photos: Path, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "renamed").mkdir()
    for i, path in enumerate(sorted(photos.iterdir(), reverse=True)):
        (tmp_path / "renamed" / f"{i}.dat").write_bytes(path.read_bytes())
    before, after = (
        open_images(folder, near_duplicates="drop", cache=cache) for folder in (photos, tmp_path / "renamed")
    )
    assert before.fingerprint == after.fingerprint != open_images(photos, cache=cache).fingerprint


def test_a_limit_counts_after_dropping(photos: Path, cache: Path) -> None:
    index = open_images(photos, near_duplicates="drop", limit=20, cache=cache).index
    assert index.used == 20 and index.found == index.used + index.duplicates


def test_look_says_how_many_there_are(photos: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    account = divcon.look(photos, cache=cache)
    assert (account.near_duplicates, account.used) == (8, 48)
    assert divcon.look(photos, near_duplicates="drop", cache=cache).used == 40
    assert typed(["look", str(photos), f"cache={cache}"]) == 0
    assert "8 look like another" in capsys.readouterr().out


def test_dropping_them_is_part_of_what_a_run_is(photos: Path, tmp_path: Path, cache: Path) -> None:
    options: dict[str, Any] = {**TINY, "epochs": 1, "recipe": "simclr", "batch_size": 5, "cache": str(cache)}
    options = {key: value for key, value in options.items() if not key.startswith("clusters.")}
    divcon.run(photos, out=tmp_path / "run", near_duplicates="drop", **options)
    assert divcon.status(tmp_path / "run").images == 40
    with pytest.raises(UsageError, match="near_duplicates was drop, is keep"):
        divcon.run(photos, out=tmp_path / "run", **options)
