"""A new kind of source is one new file and one line in `divcon/data/sources/open_source.py`."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import example_source
import numpy as np
import pytest

import divcon
from divcon.data.images import open_images
from divcon.data.labeled.labeled import open_labeled
from divcon.data.sources import open_source
from divcon.errors import InputError

PACKAGE = Path(divcon.__file__).parent
LINE = "OPENERS: list[Opener] = [open_tar_shards, open_folder]"


@pytest.fixture
def some(photos: Path, tmp_path: Path) -> tuple[Path, list[str]]:
    """A text file that lists every second image, and those paths."""
    pile = tmp_path / "pile"
    shutil.copytree(photos, pile)
    names = sorted(str(path.relative_to(pile)) for path in pile.rglob("*.*"))[::2]
    (pile / "list.txt").write_text("\n".join([*names, "missing.png"]) + "\n")
    return pile / "list.txt", names


@pytest.fixture
def extended(tmp_path: Path) -> dict[str, str]:
    """The environment of a copy of the package with the example in it: one file is added, and one file is changed."""
    copy = tmp_path / "copy" / "divcon"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(example_source.__file__, copy / "data/sources/path_list.py")
    opener = copy / "data/sources/open_source.py"
    text = opener.read_text()
    assert LINE in text
    added = "from .path_list import open_path_list\n"
    opener.write_text(
        text.replace("from .source import", added + "from .source import").replace("= [", "= [open_path_list, ")
    )
    return {**os.environ, "PYTHONPATH": str(tmp_path / "copy")}


def test_a_source_is_added_by_one_file_and_one_line(
    some: tuple[Path, list[str]], extended: dict[str, str], tmp_path: Path
) -> None:
    paths, names = some
    words = ["look", str(paths), f"cache={tmp_path / 'cache'}", "--json"]
    command = [sys.executable, "-P", "-m", "divcon", *words]
    done = subprocess.run(command, env=extended, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["used"], answer["reasons"]) == (len(names), {"io_error": 1})


def test_an_added_source_gives_the_images_of_a_folder(
    some: tuple[Path, list[str]], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_source, "OPENERS", [example_source.open_path_list, *open_source.OPENERS])
    paths, names = some
    images = open_images(paths, cache=cache)
    folder = open_images(paths.parent, include=names, cache=cache)
    assert images.fingerprint == folder.fingerprint and len(images) == len(names)
    assert images.read(np.arange(len(images))) == folder.read(np.arange(len(folder)))
    assert open_labeled(paths, cache=cache).classes == open_labeled(paths.parent, cache=cache).classes


def test_paths_of_no_kind_are_refused_by_the_folder(some: tuple[Path, list[str]], cache: Path) -> None:
    with pytest.raises(InputError, match=r"list\.txt is a file, not a folder"):
        open_images(some[0], cache=cache)
