"""A flipped bit or a missing end in any file of the cache, or in a lock, is found: the file is named or made again, and its
content is never used."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY
from test_damage import TOLD, spoilt

import divcon
from divcon import failpoints, machine
from divcon.data.images import Images, open_images
from divcon.data.index.scan_cache import ScanCache
from divcon.data.pixels import pixel_cache
from divcon.data.pixels.pixel_cache import open_pixels
from divcon.errors import OwnedError
from divcon.files.integrity import seal
from divcon.machine import measurement
from divcon.runs import owner

SIDE, SOME = 16, 48  # images in three blocks
MEASURED = {"precision": "fp32", "channels_last": False, "fp32 last seconds": 0.00123}


@pytest.fixture(scope="module")
def some(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("some")
    for i, path in enumerate(sorted(photos.glob("*/*"))[:SOME]):
        shutil.copy2(path, folder / f"{i}{path.suffix}")
        os.utime(folder / f"{i}{path.suffix}", (1e9, 1e9))  # long ago, so that what is learned of it is kept
    return folder


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_cache, "BLOCK", 16)
    monkeypatch.setattr(measurement, "measure", lambda *_: MEASURED)


Read = Callable[[Images, Path], object]


def decoded(images: Images, cache: Path) -> object:
    pictures, rows = open_pixels(images, SIDE, cache=cache, cache_gb=1, workers=1).read(np.arange(SOME))
    return pictures.flat.tobytes(), rows.tolist()


def chosen(images: Images, cache: Path) -> object:
    return machine.choose(cache, device="cpu")


@dataclass(frozen=True)
class Kind:
    """Files of a cache and their reader. `told`: the reader says what is wrong; else it makes the file again in silence."""

    pattern: str
    read: Read
    told: bool = True


KINDS = [
    Kind("pixels/*/pixels.u8", decoded), Kind("pixels/*/pixels.json", decoded),
    Kind("machine.json", chosen),
]  # fmt: skip
UNFINISHED = [
    Kind("pixels/*.part/pixels.u8", decoded, told=False), Kind("pixels/*.part/blocks", decoded, told=False),
]  # fmt: skip
REMEMBERED = "index/*.arrow"


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def kinds(names: set[str], patterns: list[str]) -> set[str]:
    """Return the patterns that the names match; a name without a pattern stands for itself."""
    return {next((pattern for pattern in patterns if fnmatch(name, pattern)), name) for name in names}


def test_every_file_of_a_cache_is_tried_here(photos: Path, tmp_path: Path) -> None:
    options = {**TINY, "precision": "auto", "epochs": 1, "cache": tmp_path / "cache"}
    divcon.run(photos, out=tmp_path / "run", **options)
    patterns = [REMEMBERED, *(kind.pattern for kind in KINDS)]
    assert kinds(files(tmp_path / "cache"), patterns) == set(patterns)


def half_made(images: Images, cache: Path) -> None:
    """Leave the pixels of a process that was killed when two of three blocks were listed."""
    left = [2]

    def die(name: str) -> None:
        left[0] -= name == "pixels.listed"
        if not left[0]:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(failpoints, "at", die)
        decoded(images, cache)


def test_every_file_of_unfinished_pixels_is_tried_here(some: Path, tmp_path: Path) -> None:
    half_made(open_images(some, cache=tmp_path), tmp_path)
    patterns = [REMEMBERED, *(kind.pattern for kind in UNFINISHED)]
    assert kinds(files(tmp_path), patterns) == set(patterns)


def test_no_damage_in_what_a_scan_remembers_is_believed(
    some: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_images(some, cache=tmp_path)
    (file,) = tmp_path.glob(REMEMBERED)
    assert len([*ScanCache.load(file).paths()]) == SOME
    for bad in spoilt(file.read_bytes(), 3):
        file.write_bytes(bad)
        caplog.clear()
        assert [*ScanCache.load(file).paths()] == []
        assert str(file) in caplog.text and TOLD.search(caplog.text), (len(bad), caplog.text)


@pytest.mark.parametrize("kind", [*KINDS, *UNFINISHED], ids=lambda kind: kind.pattern)
def test_no_damage_in_a_cache_is_believed(
    some: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: Kind
) -> None:
    images = open_images(some, cache=tmp_path / "first")
    expected = kind.read(images, tmp_path / "first")
    if kind in UNFINISHED:
        half_made(images, tmp_path / "cache")
    else:
        kind.read(images, tmp_path / "cache")
    (file,) = (tmp_path / "cache").glob(kind.pattern)
    good = shutil.copytree(tmp_path / "cache", tmp_path / "good")
    for bad in spoilt(file.read_bytes(), len(kind.pattern)):
        file.write_bytes(bad)
        caplog.clear()
        assert kind.read(images, tmp_path / "cache") == expected
        assert not kind.told or (str(file) in caplog.text and TOLD.search(caplog.text)), (len(bad), caplog.text)
        caplog.clear()
        assert kind.read(images, tmp_path / "cache") == expected
        assert caplog.records == [] or "damaged" not in caplog.text
        shutil.rmtree(tmp_path / "cache")
        shutil.copytree(good, tmp_path / "cache")


# locks


@pytest.mark.parametrize("whose", ["alive", "gone", "elsewhere"])
def test_a_damaged_lock_is_nobodys_until_it_is_stolen(tmp_path: Path, whose: str) -> None:
    who = {
        "alive": asdict(owner.this_process()),
        "gone": asdict(owner.this_process()) | {"started": "0"},
        "elsewhere": asdict(owner.this_process()) | {"host": "other 12345678"},
    }
    file = tmp_path / "lock"
    for bad in spoilt(seal(json.dumps(who[whose])).encode(), 2):
        file.write_bytes(bad)
        with pytest.raises(OwnedError, match=r"is in use by process .*--steal-lock"), owner.owned(tmp_path):
            pass
        assert file.read_bytes() == bad
        with pytest.raises(OwnedError, match="was taken over by"):
            owner.check(tmp_path)
    with owner.owned(tmp_path, steal=True):
        owner.check(tmp_path)
    assert not file.exists()


def test_a_run_with_a_damaged_lock_says_what_to_type_and_goes_on_once_it_is_stolen(
    photos: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    (run / "base").mkdir(parents=True)
    whole = seal(json.dumps(asdict(owner.this_process()) | {"started": "0"})).encode()
    (run / "base/lock").write_bytes(whole[:-20])
    options: dict[str, Any] = {**TINY, "epochs": 1}
    options = {key: value for key, value in options.items() if "." not in key} | {"recipe": "simclr"}
    shutil.copy(divcon.run(photos, out=tmp_path / "other", **options).folder / "run.json", run)
    with pytest.raises(OwnedError, match=f"{run}/base is in use by process .* an unreadable lock file.*--steal-lock"):
        divcon.run(photos, out=run, **options)
    assert divcon.run(photos, out=run, steal_lock=True, **options).done
    assert not (run / "base/lock").exists()
