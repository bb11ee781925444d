"""A typed path means the same in every verb, on the command line and in Python."""

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from test_cli import told, typed
from test_host import STEPS

import divcon
from divcon.errors import DiskError, InputError, UsageError
from divcon.files.caches import cache_folder
from divcon.files.paths import expand_home

WORDS = [f"{key}={value}" for key, value in {**STEPS, "epochs": 0.1}.items()]


@pytest.fixture
def home(photos: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home folder that holds the photos, and a current folder beside it; no temporary file may be left in the two."""
    folder, here = tmp_path / "home", tmp_path / "here"
    folder.mkdir()
    here.mkdir()
    (folder / "photos").symlink_to(photos)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(here)
    yield folder
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".part")]


def found(root: Path) -> set[str]:
    """The names at the top of a folder."""
    return {path.name for path in root.iterdir()}


def test_a_tilde_is_home_in_whatever_is_typed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["look", "~/photos", "sheet=~/sheet.png"],
        ["index", "~/photos", "out=~/index"],
        ["run", "~/photos", "out=~/run", *WORDS, "cache=~/cache"],
        ["run", "~/photos", "out=~/more", *WORDS, "base=~/run/base"],
        ["run", "~/photos", "out=~/again", "recipe=~/run", "base.encoder.init=~/run/base"],
        ["embed", "~/run", "~/photos", "out=~/e.parquet"],
        ["eval", "~/run", "~/photos", "tasks=knn"],
        ["eval", "random:~/run", "~/photos", "tasks=knn"],
        ["status", "~/run"],
        ["redo", "~/run", "base"],
    ):
        assert typed(words) == 0, (words, capsys.readouterr().err)
    assert found(home) >= {"sheet.png", "index", "run", "cache", "more", "again", "e.parquet"}
    assert found(Path.cwd()) == set()


def test_a_tilde_is_home_in_python_too(home: Path) -> None:
    options: dict[str, Any] = {**STEPS, "epochs": 0.1, "cache": Path("~/cache")}
    assert divcon.run("~/photos", out=Path("~/run"), **options).done
    assert divcon.embed(Path("~/run"), "~/photos", out="~/e.parquet").pictures == divcon.look("~/photos").used
    assert divcon.load("random:~/run") is not None and divcon.status("~/run").stages["base"].state == "done"
    assert found(home) >= {"run", "e.parquet", "cache"} and found(Path.cwd()) == set()


def test_shards_below_home_are_found(home: Path) -> None:
    with tarfile.open(home / "a0.tar", "w") as tar:
        for path in sorted((home / "photos").glob("*/*"))[:3]:
            tar.add(path, path.name)
    assert divcon.look("~/a{0..0}.tar").used == divcon.look("~/a*.tar").used == 3


def test_a_folder_that_is_called_tilde_can_be_named(home: Path) -> None:
    divcon.run("~/photos", out="./~/run", **{**STEPS, "epochs": 0.1})
    divcon.embed("./~/run", "~/photos", out="./~/e.parquet")
    assert found(Path("./~").absolute()) == {"run", "e.parquet"} and found(home) == {"photos"}


@pytest.mark.parametrize("name", ["s3:bucket/e.parquet", "file:e.parquet", "a b/é?#%20.parquet"])
def test_a_name_that_could_be_an_address_is_the_name_of_a_file(home: Path, name: str) -> None:
    n = divcon.embed("random:slim10_w8", "~/photos", out=name).files
    with (Path.cwd() / name).open("rb") as file:
        assert pq.read_table(file).num_rows == n
    assert len(list(Path.cwd().rglob("*.parquet"))) == 1


def test_a_run_in_a_folder_that_could_be_an_address_goes_through(home: Path) -> None:
    options = {**STEPS, "recipe": "clusterfit", "clusters.k": 2, "epochs": 0.2, "cache": "gs:x/cache"}
    assert divcon.run("~/photos", out="s3:bucket/run", **options).done
    assert found(Path.cwd()) == {"s3:bucket", "gs:x"}


@pytest.mark.parametrize("words", [["look", "~nobody-of-that-name/x"], ["status", "~nobody-of-that-name/x"]])
def test_a_home_of_nobody_is_refused_with_a_way_on(
    home: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    code, line = told(words, capsys)
    assert code == 66 and "no such home" in line and "./~nobody-of-that-name/x" in line


def test_a_path_that_is_understood_twice_is_the_same(home: Path) -> None:
    for path in ("~", "~/x", "./~", "./~/x", "a/~", "~root", "s3:x"):
        once = expand_home(path)
        assert expand_home(once) == once and not once.startswith("~")
    with pytest.raises(InputError, match="cache="):
        cache_folder("~nobody-of-that-name")
    assert str(cache_folder("~/c")) == os.path.join(home, "c")  # noqa: PTH118


@pytest.mark.parametrize("address", ["s3://bucket/e.parquet", "file:///e.parquet", "https://host/e.parquet"])
def test_an_address_to_write_to_is_refused_before_anything_is_done(home: Path, address: str) -> None:
    with pytest.raises(UsageError, match="is an address; results are written to a folder of this machine"):
        divcon.embed("random:slim10_w8", "~/photos", out=address)
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    ("out", "why"), [("file/e.parquet", "Not a directory"), ("folder/e.parquet", "Is a directory")]
)
def test_where_nothing_can_be_written_no_image_is_looked_at(
    home: Path, out: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").touch()
    Path("folder/e.parquet").mkdir(parents=True)
    monkeypatch.setattr("divcon.api.embed.open_images", lambda *_, **__: pytest.fail("looked"))
    with pytest.raises(DiskError, match=f"{why}. Look at it") as error:
        divcon.embed("random:slim10_w8", "~/photos", out=out)
    assert "make room" not in str(error.value)


@pytest.mark.parametrize("named", ["/dev/null", "file"])
def test_a_cache_that_is_no_folder_is_named(home: Path, named: str) -> None:
    Path("file").touch()
    with pytest.raises(InputError, match="is no folder; name a folder by cache="):
        divcon.look("~/photos", cache=named)


def test_look_answers_where_no_cache_can_be_made(home: Path) -> None:
    assert divcon.look("~/photos", cache="/proc/divcon").used > 0
