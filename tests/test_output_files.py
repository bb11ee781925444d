"""A file that a verb writes replaces nothing that somebody needs: no file of a run, of the collection, no picture asked about."""

import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import divcon
from divcon.data.synthetic import make_collection
from divcon.errors import DiskError, UsageError
from divcon.files.integrity import sha256

Verb = Callable[[Path, Path, Path], object]

VERBS: dict[str, tuple[str, Verb]] = {
    "neighbors sheet": (".png", lambda at, file, cache: divcon.neighbors(at / "run", picture(at), k=3, sheet=file, cache=cache)),
    "pick out": (".csv", lambda at, file, cache: divcon.pick(at / "run", n=3, out=file, cache=cache)),
    "duplicates out": (".csv", lambda at, file, cache: divcon.duplicates(at / "run", out=file, cache=cache)),
    "duplicates sheet": (".png", lambda at, file, cache: divcon.duplicates(at / "run", threshold=0.2, sheet=file, cache=cache)),
    "embed out": (".parquet", lambda at, file, cache: divcon.embed(at / "run", at / "images", out=file, cache=cache)),
    "look sheet": (".png", lambda at, file, cache: divcon.look(at / "images", sheet=file, cache=cache)),
    "look rejected": (".csv", lambda at, file, cache: divcon.look(at / "images", rejected=file, cache=cache)),
    "compare out": (".json", lambda at, file, cache: divcon.compare([at / "run"], labels=at / "labels", out=file, cache=cache)),
    "compare plot": (".svg", lambda at, file, cache: divcon.compare([at / "run"], labels=at / "labels", plot=file, cache=cache)),
}  # fmt: skip


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a collection in images/, a copy of it in labels/, and a run in run/."""
    folder = tmp_path_factory.mktemp("outputs")
    make_collection(folder / "images", 60)
    shutil.copytree(folder / "images", folder / "labels")
    divcon.run(folder / "images", out=folder / "run", recipe="simclr", epochs=1, size=16, precision="fp32")
    return folder


def picture(at: Path) -> Path:
    return min((at / "images").rglob("*.png"))


def contents(folder: Path) -> dict[Path, str]:
    return {path: sha256(path) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", VERBS)
def test_no_verb_writes_into_a_run_or_a_collection_and_none_begins_to_work(
    at: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (suffix, verb), before, option = VERBS[name], contents(at), name.split()[1]
    link = tmp_path / "link"
    link.symlink_to(at)
    monkeypatch.chdir(at / "run")
    inside = [at / "run/images/duplicates", link / "run/new/folder/x", Path("x"), at / "images/x", link / "images/x"]
    for file in [*inside, at / "labels/x"] if "compare" in name else inside:
        with pytest.raises(UsageError, match=rf"^{option}=\S+ lies inside the .*, like {option}=") as refused:
            verb(at, file.with_suffix(suffix), tmp_path / "cache")
        beside = Path(shlex.split(str(refused.value).rpartition(f"{option}=")[2])[0])
        assert beside == at / file.with_suffix(suffix).name
    assert contents(at) == before and not (tmp_path / "cache").exists()


def test_the_picture_asked_about_is_not_replaced(at: Path, tmp_path: Path) -> None:
    photo, other, link, hard = (tmp_path / f"{name}.png" for name in ("photo", "other", "link", "hard"))
    for file in (photo, other):
        shutil.copy(picture(at), file)
    link.symlink_to(photo)
    os.link(photo, hard)
    before = contents(tmp_path)
    for sheet in (photo, link, hard):
        with pytest.raises(UsageError, match=rf"is the picture \S+photo.png that .* like sheet=\S+like-{sheet.name}$"):
            divcon.neighbors(at / "run", [str(other), str(photo)], k=3, sheet=sheet)
    assert contents(tmp_path) == before


def test_an_export_is_not_written_into_a_run_or_a_collection(at: Path, tmp_path: Path) -> None:
    before, link = contents(at), tmp_path / "link"
    link.symlink_to(at)
    places = {"run": "run-out", "run/new": "new", "run/base": "base", "images": "images-out", "images/new": "new"}
    for model in (at / "run", at / "run/base"):
        for inside, beside in places.items():
            for place in (at / inside, link / inside):
                with pytest.raises(UsageError, match=rf"^out=\S+ lies inside the .*, like out=\S+/{beside}$"):
                    divcon.export(model, out=place, format="safetensors")
    assert contents(at) == before
    assert divcon.export(at / "run", out=tmp_path / "run-out", format="safetensors").exports


def test_a_file_in_the_place_of_a_folder_is_named(at: Path, tmp_path: Path) -> None:
    (tmp_path / "afile").touch()
    with pytest.raises(DiskError, match=r"can't write \S+/afile: Not a directory"):
        divcon.export(at / "run", out=tmp_path / "afile", format="safetensors")


def test_another_file_is_replaced(at: Path, tmp_path: Path) -> None:
    table, sheet = tmp_path / "x.csv", tmp_path / "x.png"
    table.write_text("old")
    shutil.copy(picture(at), sheet)
    divcon.look(at / "images", sheet=sheet, rejected=table)
    assert table.read_text().startswith("path,reason") and Image.open(sheet).height > Image.open(picture(at)).height


def test_a_link_in_a_collection_is_not_replaced_by_a_file(at: Path, tmp_path: Path) -> None:
    shutil.copytree(at / "images", tmp_path / "pile")
    link = tmp_path / "pile" / "link.png"
    link.symlink_to(tmp_path / "elsewhere.png")
    for data in (tmp_path / "pile", f"{tmp_path}/pi*e"):
        with pytest.raises(UsageError, match="lies inside the collection"):
            divcon.look(data, sheet=link)
    assert link.is_symlink()


def test_an_index_is_written_beside_a_collection_and_may_mend_that_of_a_run(at: Path, tmp_path: Path) -> None:
    for out in (at / "images", at / "images" / "index"):
        with pytest.raises(UsageError, match=r"out=.* lies inside the collection") as refused:
            divcon.index(at / "images", out=out)
        beside = Path(str(refused.value).rpartition("out=")[2])
        assert beside.parent == at and not beside.exists()
    work = shutil.copytree(at, tmp_path / "work")
    before = contents(work / "run" / "images")
    (work / "run" / "images" / "index.arrow").write_bytes(b"")
    divcon.index(work / "images", out=work / "run" / "images")
    assert contents(work / "run" / "images") == before
