"""Every code block of the documents is run here or in test_readme.py, or says why it is not."""

import importlib
import logging
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY
from test_pipeline import EPOCHS, finished, typed
from test_readme import ADD_A_METHOD, BLOCK, COMMANDS, DOCUMENTS, ROOT, blocks, command_lines, commands
from test_voc import PARTS, write_voc

import divcon
from divcon import log
from divcon.data.synthetic import make_collection

CONTRIBUTING = ROOT / "CONTRIBUTING.md"
MODULES = {ADD_A_METHOD: 1, CONTRIBUTING: 3}  # blocks that are files of the package; a test of each puts them there
REASONS = [
    reason for document in DOCUMENTS for reason in re.findall("<!-- illustration: (.+) -->", document.read_text())
]
GUIDES = [
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("index", "quickstart", "choose", "labeled-folders")),
]
SMALL = [f"{key}={value}" for key, value in TINY.items()]


def named(document: Path) -> str:
    return str(document.relative_to(ROOT))


def scripts(document: Path) -> list[str]:
    """The Python blocks of a document that a reader could save and run."""
    return [] if document in MODULES else blocks(document, "python")


# no block is left out


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_code_block_is_bash_or_python_or_an_illustration_with_a_reason(document: Path) -> None:
    text = document.read_text()
    found = BLOCK.findall(text)
    assert len(re.findall(r"^ *(?:```|~~~)", text, re.MULTILINE)) == 2 * len(found)
    assert {language for reason, language, _ in found if not reason} <= {"bash", "python"}
    outside = BLOCK.sub("", text)
    # an indented block, after what is no list and no mark
    assert re.findall(r"^(?![-\d*>|<\s])[^\n]*\n\n {4,}\S[^\n]*", outside, re.MULTILINE) == []


def test_illustrations_are_few_and_each_has_a_reason() -> None:
    assert 0 < len(REASONS) <= 10
    assert all(len(reason.split()) > 1 for reason in REASONS)


def test_each_python_block_that_is_no_script_is_a_file_with_a_test() -> None:
    assert {document: len(blocks(document, "python")) for document in MODULES} == MODULES


# commands of other programs


def can_be_typed(line: str) -> bool:
    """True if a command line names what there is: a target, an extra, a module, a file, a flag."""
    program, *words = shlex.split(line)
    if program == "make":
        return words[0] in re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    if program == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        extra = re.fullmatch(r"(?:\.|divcon)(?:\[([\w,]+)\])?", words[1])
        return (
            words[0] == "install"
            and bool(extra)
            and set((extra[1] or "heif").split(",")) <= {*project["optional-dependencies"]}
        )
    if program == "python":
        module = ROOT / words[1].replace(".", "/") if words[0] == "-m" else ROOT / words[0]
        return module.is_file() or (module / "__main__.py").is_file() or module.with_suffix(".py").is_file()
    if program == "divcon":
        return words[0] in HELP
    return program == ".venv/bin/pytest" and (ROOT / words[0]).is_file()


HELP = ("--version", "--install-completion", "--show-completion", "--help")


@pytest.mark.parametrize(
    "line", sorted({line for document in DOCUMENTS for line in command_lines(document)} - set(COMMANDS))
)
def test_every_command_of_another_program_names_what_there_is(line: str) -> None:
    assert can_be_typed(line)


@pytest.mark.parametrize(
    "line", ["make tests", "pip install '.[reprt]'", "python -m study", "python examples/x.py", "divcon --verson", "ls"]
)
def test_a_command_with_a_typo_would_be_noticed(line: str) -> None:
    assert not can_be_typed(line)


def test_every_flag_of_the_command_itself_is_in_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f" {flag} " in shown for flag in HELP)


# scripts


@pytest.fixture
def desk(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of a reader: photos/, labeled folders in both layouts, and a finished run in runs/photos."""
    shutil.copytree(finished(photos), tmp_path / "runs/photos")
    shutil.copytree(photos, tmp_path / "photos")
    a, *_ = sorted(photos.rglob("*.jpg")) or sorted(photos.rglob("*.png"))
    for copy in ("photos/a.jpg", "photos/b.jpg", "picture.jpg"):
        shutil.copy(a, tmp_path / copy)
    for part in ("train", "val", "test"):
        make_collection(tmp_path / "labeled" / part, 40, size=32, seed=len(part))
    for name in ("birds", "cars", "flowers"):
        shutil.copytree(tmp_path / "labeled", tmp_path / name)
    for name in ("VOC2007", "VOC2012"):
        write_voc(photos, tmp_path / "VOCdevkit" / name, PARTS)
    shutil.copytree(tmp_path / "photos", tmp_path / "moved/photos")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def small(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a run, made those of the run in runs/photos."""
    return {**options, **TINY, "epochs": EPOCHS}


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if scripts(d)], ids=named)
def test_every_script_of_a_document_runs(document: Path, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = divcon.run
    for module in ("divcon", "divcon.sklearn"):
        monkeypatch.setattr(f"{module}.run", lambda data, **options: train(data, **small(options)))
    monkeypatch.setattr(log, "watch", log.watch)  # a script may set it
    monkeypatch.setattr(logging.root, "handlers", logging.root.handlers[:])
    for text in scripts(document):
        exec(compile(text, named(document), "exec"), {"__name__": "__main__"})
    assert {path.name for path in (desk / "runs").iterdir()} == {"photos"}


# files of the package


@pytest.fixture
def contributed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The pipeline and the verb of CONTRIBUTING.md, in folders where the package finds its own."""
    pipeline, api, cli = blocks(CONTRIBUTING, "python")
    files = {"divcon.recipes.two_phases": pipeline, "divcon.api.count": api, "divcon.cli.count": cli}
    for module, text in files.items():
        package, _, name = module.rpartition(".")
        (tmp_path / package).mkdir()
        (tmp_path / package / f"{name}.py").write_text(text)
        found = importlib.import_module(package)
        monkeypatch.setattr(found, "__path__", [*found.__path__, str(tmp_path / package)])
    yield
    for module in files:
        sys.modules.pop(module, None)


def test_the_pipeline_of_the_contributing_guide_trains_twice(contributed: None, photos: Path, tmp_path: Path) -> None:
    options = {key: value for key, value in TINY.items() if "." not in key}
    ran = divcon.run(photos, out=tmp_path / "run", recipe="two_phases", epochs=2, **options)
    assert ran.did == ["base", "second"]


def test_the_verb_of_the_contributing_guide_counts(
    contributed: None, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert divcon.count(photos) == 160
    assert typed(["count", str(photos)]) == 0
    assert capsys.readouterr().out == "160 images\n"


# guides, typed as they stand


def made_small(line: str) -> list[str]:
    """The words of a command line; those of a run are for a small one with two experts, and 20 images stand for hundreds."""
    _, *words = shlex.split(re.sub(r" n=\d+", " n=20", line))
    if words[0] != "run":
        return words
    kept = [word for word in words if word.partition("=")[0] not in {"epochs", "clusters.k", *TINY}]
    epochs = EPOCHS if "out=runs/photos" in words else 1  # there is a finished run
    options = [option for option in SMALL if "recipe=moclr" not in words or "." not in option]
    return [word.replace("experts/3", "experts/1") for word in kept] + [*options, f"epochs={epochs}"]


@pytest.mark.slow
@pytest.mark.timeout(1800)  # some dozen commands
@pytest.mark.parametrize("document", GUIDES, ids=named)
def test_every_command_of_a_guide_does_its_work(document: Path, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in commands(document):
        for other in re.findall(r"(?<!=)\bruns/[\w-]+", line):
            if not (desk / other).exists():  # a run that the guide does not make
                assert typed(made_small(f"divcon run photos/ out={other} recipe=moclr")) == 0
        assert typed(made_small(line)) == 0, (line, capsys.readouterr().err)
