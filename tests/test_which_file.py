"""Messages name files, and the commands that they advise work."""

import csv
import json
import re
import shlex
import tarfile
from pathlib import Path
from typing import Any

import pytest
from test_cli import told, typed
from test_file_numbers import noise
from test_host import STEPS

import divcon
from divcon.errors import DataError, UsageError

JPEG_2000 = b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(300)


@pytest.fixture
def phone(tmp_path: Path, cache: Path) -> Path:
    """A folder with a space in its name, in which no picture can be used, for three reasons."""
    folder = tmp_path / "my phone"
    folder.mkdir()
    for i in range(14):
        (folder / f"IMG_{i:04}.jpg").write_bytes(JPEG_2000 + bytes([i]))
    (folder / "note.txt").write_text("a note")
    (folder / "zero.png").touch()
    return folder


@pytest.fixture
def shards(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three tars of ten pictures, with what a download leaves beside them; the folder above is the current one."""
    folder = tmp_path / "my shards"
    for i in range(3):
        for j in range(10):
            noise(tmp_path / f"pictures/{i}{j}.png", 10 * i + j)
        folder.mkdir(exist_ok=True)
        with tarfile.open(folder / f"{i:05}.tar", "w") as tar:
            for path in sorted((tmp_path / "pictures").glob(f"{i}*.png")):
                tar.add(path, path.name)
        (folder / f"{i:05}.parquet").write_bytes(b"PAR1")
    monkeypatch.chdir(tmp_path)
    return folder


def test_look_lists_every_rejected_file_with_its_reason(
    phone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, line = told(["look", str(phone)], capsys)
    assert code == 65 and "IMG_0000.jpg: format_not_allowed (JPEG 2000" in line
    assert "note.txt: not_an_image" in line and "zero.png: empty_file" in line and "IMG_0003" not in line
    (command,) = re.findall(r"`divcon (look .*?)`", line)
    words = shlex.split(command.replace("FILE.csv", str(tmp_path / "out/all.csv")))
    code, line = told(words, capsys)  # as it was said to be typed
    assert code == 65 and f"{tmp_path}/out/all.csv lists each rejected file with its reason" in line
    with (tmp_path / "out/all.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["path"] for row in rows} == {path.name for path in phone.iterdir()} and all(
        row["reason"] for row in rows
    )


def test_below_the_counts_stand_some_names_of_each_reason(phone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noise(phone / "good.png", 1)
    assert typed(["look", str(phone)]) == 0
    said = capsys.readouterr().out
    for words in (
        "14 format_not_allowed",
        "IMG_0000.jpg",
        "note.txt",
        "zero.png",
        "and 6 more: rejected=FILE.csv lists",
    ):
        assert words in said
    assert len(said.splitlines()) < 20
    assert typed(["look", str(phone), "--json"]) == 0
    sample = json.loads(capsys.readouterr().out)["rejected_sample"]
    assert len(sample) == 10 and {row["reason"] for row in sample} == {
        "format_not_allowed",
        "not_an_image",
        "empty_file",
    }
    assert divcon.look(phone).as_json()["rejected_sample"] == sample


def test_a_rejected_name_is_the_files_own(phone: Path) -> None:
    noise(phone / "good.png", 1)
    strange = b"caf\xe9 \xe2\x80\xae.jpg"
    (phone / Path(strange.decode("utf-8", "surrogateescape"))).write_bytes(b"no picture")
    names = [row.path for row in divcon.look(phone).rejected_sample]
    assert json.loads(json.dumps(names)) == names
    assert all((phone / name).is_file() for name in names) and any("\udce9" in name for name in names)


def test_every_verb_names_files_when_none_can_be_used(phone: Path, tmp_path: Path) -> None:
    verbs: list[Any] = [
        lambda: divcon.run(phone, out=tmp_path / "run"),
        lambda: divcon.embed("random:slim10_w8", phone, out=tmp_path / "e.parquet"),
        lambda: divcon.evaluate("random:slim10_w8", phone),
    ]
    for verb in verbs:
        with pytest.raises(DataError, match=r"IMG_0000.jpg: format_not_allowed .*rejected=FILE.csv"):
            verb()


@pytest.mark.parametrize("pattern", ["*.tar", "*"])
def test_what_a_shell_makes_of_a_pattern_is_what_the_pattern_means(
    shards: Path, capsys: pytest.CaptureFixture[str], pattern: str
) -> None:
    words = sorted(str(path.relative_to(Path.cwd())) for path in shards.glob(pattern))
    answers = []
    for data in ([f"{shards.name}/{pattern}"], words):
        assert typed(["look", *data, "--json"]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0] == answers[1] and answers[0]["used"] == 30
    assert answers[0]["reasons"] == ({"not_a_tar": 3} if pattern == "*" else {})


def test_every_verb_that_takes_data_takes_several_shards(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(path) for path in sorted(shards.iterdir())]
    options = [f"{key}={value}" for key, value in {**STEPS, "epochs": 0.5}.items()]
    assert typed(["run", *words, "out=run", *options]) == 0
    assert typed(["embed", "run", *words, "out=e.parquet"]) == 0
    assert typed(["index", *words]) == 0
    assert divcon.look(words).used == 30 and divcon.run(words, out="run", **{**STEPS, "epochs": 0.5}).did == []
    capsys.readouterr()
    code, line = told(["eval", "run", *words], capsys)
    assert code == 66 and words[0] in line  # several labeled folders can be scored, and this is none


def test_a_file_whose_name_has_an_equals_sign_is_a_file(shards: Path) -> None:
    (shards / "00000.tar").rename(shards / "size=1.tar")
    assert typed(["look", f"{shards.name}/00001.tar", f"{shards.name}/size=1.tar"]) == 0


def test_pictures_named_one_by_one_are_refused_with_what_to_type(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(path) for path in sorted((tmp_path / "pictures").iterdir())]
    code, line = told(["look", *words], capsys)
    assert code == 64 and "none of the 30 files that were named is a tar" in line and len(line) < 400
    folder, include = re.findall(r"are in, (\S+), and choose by (\S+)$", line)[0]
    assert typed(["look", *shlex.split(folder), *shlex.split(include)]) == 0
    capsys.readouterr()
    code, line = told(["look", str(tmp_path / "pictures"), str(shards)], capsys)
    assert code == 64 and f"one folder at a time, or tar shards: name the folder above them, {tmp_path}" in line


def test_a_sheet_or_a_table_that_can_not_be_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    for wrong in ({"sheet": "x.jpg"}, {"rejected": "x.txt"}):
        with pytest.raises(UsageError, match="let the name end in"):
            divcon.look(tmp_path / "nowhere", **wrong)


def test_what_to_look_at_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "my folder").mkdir()
    for missing in ("my folder/a/b/c", "my folder/x{0..3}.tar", "my folder/none/*.tar"):
        code, line = told(["look", str(tmp_path / missing)], capsys)
        assert code == 66
        (command,) = re.findall(r"`(ls .*)`", line)
        assert shlex.split(command) == ["ls", str(tmp_path / "my folder")]


def test_a_command_in_a_message_can_be_typed_whatever_the_folder_is_called(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "it's my run"
    words = ["run", str(photos), f"out={out}", *(f"{key}={value}" for key, value in {**STEPS, "epochs": 0.1}.items())]
    assert typed(words) == 0
    capsys.readouterr()
    code, line = told([*words, "seed=3"], capsys)
    assert code == 64
    assert typed(shlex.split(line.rpartition("type: divcon ")[2])) == 0 and not (out / "base").exists()


def test_tars_in_a_folder_can_be_read_as_it_is_said(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, line = told(["look", shards.name], capsys)
    assert code == 65
    assert typed(["look", *shlex.split(line.rpartition("name them: ")[2])]) == 0
    assert "used 30" in capsys.readouterr().out
