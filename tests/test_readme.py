"""Commands in the documents can be typed, calls can be made, and links can be followed."""

import ast
import importlib
import inspect
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_methods
import typer
from numpy.typing import NDArray
from test_layers import ROWS

import divcon
from divcon import cli, recipes
from divcon.api import (
    compare,
    demo,
    duplicates,
    embed,
    evaluate,
    execution,
    export,
    index,
    look,
    models,
    neighbors,
    pick,
    plan,
    redo,
    report,
    run_plan,
    status,
    transfer,
)
from divcon.cli import encoders as list_encoders
from divcon.cli import methods as list_methods
from divcon.cli import recipes as list_recipes
from divcon.data.index.index import Index
from divcon.loggers import registry as loggers
from divcon.machine import Machine
from divcon.methods import registry
from divcon.runs.records import RunRecord

ROOT = Path(__file__).parent.parent
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
ADD_A_METHOD = ROOT / "docs/add-a-method.md"  # its method is not in the package

# A block is run, or a comment before it says why it can't be: <!-- illustration: the reason -->
BLOCK = re.compile(r"(?:<!-- illustration: ([^\n]+) -->\n+)?^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")
PATH = re.compile(r"`((?:divcon|docs|tests|examples|benchmarks|\.ci)/[\w./-]*)`")

Parsed = Callable[[str], None]


def blocks(document: Path, *languages: str) -> list[str]:
    found = BLOCK.findall(document.read_text())
    return [text for reason, language, text in found if language in languages and not reason]


def command_lines(document: Path) -> list[str]:
    """The command lines of a document's blocks, without their comments."""
    lines = "\n".join(blocks(document, "", "bash", "console")).replace("\\\n", " ").splitlines()
    return [shlex.join(shlex.split(line.removeprefix("$ "), comments=True)) for line in lines if line.strip()]


def commands(document: Path) -> list[str]:
    """Those command lines of a document that are verbs."""
    return [line for line in command_lines(document) if line.startswith("divcon ") and not line.startswith("divcon -")]


COMMANDS = sorted({line for document in DOCUMENTS for line in commands(document)})


class ReachedError(Exception):
    """Raised where a verb would begin its work."""


def reached(*_: Any, **__: Any) -> None:
    raise ReachedError


class Found:
    """A stand-in for a collection with as many images as Open Clip Art; no image is read."""

    fingerprint = "made up"
    index = Index.of([])

    def __init__(self, n: int = 6900):
        self.n = n

    def __len__(self) -> int:
        return self.n

    def names(self, positions: NDArray[np.int64]) -> list[bytes]:
        raise AssertionError("a plan reads no names")

    def subset(self, positions: NDArray[np.int64]) -> "Found":
        return Found(len(positions))


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The documented method, in a folder where the package finds its own."""
    (text,) = blocks(ADD_A_METHOD, "python")
    folder = tmp_path / "added"
    folder.mkdir()
    (folder / "simsiam.py").write_text(text)
    package = importlib.import_module("divcon.methods")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    monkeypatch.delitem(sys.modules, "divcon.methods.simsiam", raising=False)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, added: None) -> Parsed:
    """A function that parses and starts a command line, and stops where a file would be read."""
    monkeypatch.chdir(tmp_path)
    run = Path("runs/photos")
    run.mkdir(parents=True)
    RunRecord({}, {}, {}, "", 6900, ["base"], "student").write(run)  # for command lines that name a run
    begins = {
        look: ("scan_images",),
        index: ("open_images", "refuse_bucket"),
        status: ("run_record",),
        redo: ("run_record",),
        report: ("run_record",),
        models: ("find_model",),
        evaluate: ("open_scored", "find_model"),
        transfer: ("find_model",),
        embed: ("open_images",),
        compare: ("run_record",),
        export: ("find_model",),
        neighbors: ("_hash",),
        pick: ("see_images",),
        duplicates: ("see_images",),
        execution: ("begin",),
        plan: ("cost_of",),
        list_recipes: ("print_names",),
        list_methods: ("print_names",),
        list_encoders: ("print_names",),
    }
    for module, names in begins.items():
        for name in names:
            monkeypatch.setattr(module, name, reached)
    monkeypatch.setattr(loggers, "missing_modules", lambda name: [])
    monkeypatch.setattr(run_plan, "open_images", lambda *_, **__: Found())
    monkeypatch.setattr(run_plan, "_machine", lambda *_: Machine())
    monkeypatch.setattr(run_plan, "_base", lambda *_: None)
    monkeypatch.setattr(demo, "demo_collection", lambda cache: tmp_path / "collection")
    command = typer.main.get_command(cli.command_line())
    return lambda line: command.main(shlex.split(line)[1:], standalone_mode=False)


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_line_can_be_typed(line: str, parsed: Parsed) -> None:
    with pytest.raises(ReachedError):
        parsed(line)


@pytest.mark.parametrize("line", ["divcon run a out=b epoch=60", "divcon lok a", "divcon run a out=b --onyl base"])
def test_a_command_line_with_a_typo_would_be_noticed(line: str, parsed: Parsed) -> None:
    with pytest.raises(Exception, match=r"epochs|No such"):
        parsed(line)


def test_every_verb_is_shown_in_a_document() -> None:
    shown = {shlex.split(line)[1] for line in COMMANDS}
    told = "".join(document.read_text() for document in DOCUMENTS)
    verbs = set(cli.verbs())
    assert {verb for verb in verbs - shown if f"divcon {verb}" not in told} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_python_in_a_document_calls_what_there_is(document: Path) -> None:
    for text in blocks(document, "python"):
        for call in ast.walk(ast.parse(text)):
            if isinstance(call, ast.Call) and ast.unparse(call.func).startswith("divcon."):
                verb = getattr(divcon, ast.unparse(call.func).removeprefix("divcon."))
                named = {word.arg: None for word in call.keywords if word.arg}
                inspect.signature(verb).bind(*call.args, **named)


def test_the_rooms_of_the_contributing_guide_are_those_of_the_layer_test() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text().split("| rooms of a row |")[1].split("\n\n")[0]
    rooms = [re.findall(r"`([\w.]+)`", line.split("|")[1]) for line in table.splitlines()[2:]]
    assert rooms == [row.split() for row in ROWS.split("\n") if row not in ("", "__main__")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_every_link_and_path_leads_to_a_file(document: Path) -> None:
    text = document.read_text()
    links = [document.parent / link for link in LINK.findall(text)]
    paths = [ROOT / path for path in PATH.findall(text) if "simsiam" not in path]
    assert [str(path) for path in (*links, *paths) if not path.exists()] == []


def test_one_file_adds_a_method_and_its_recipes(added: None) -> None:
    about = registry.method_named("simsiam").about
    assert "simsiam" in registry.method_names() and len(about) < 100
    assert {"simsiam", "simsiam_paper"} <= set(recipes.names())
    assert registry.options_of(registry.method_named("simsiam"))["bottleneck"] == 512
    options, _ = recipes.settled(recipes.Options(recipe="simsiam"), 5000, "cpu")
    small, paper = (recipes.named(name).recipe(options, 5000).base for name in ("simsiam", "simsiam_paper"))
    assert (small.method, small.optimizer, small.options["bottleneck"]) == ("simsiam", "adamw", 64)
    assert (paper.method, paper.optimizer, paper.options["bottleneck"]) == ("simsiam", "sgd", 512)


@pytest.mark.parametrize(
    "claim",
    [
        test_methods.test_the_loss_is_one_finite_number_in_float32_and_the_same_each_time,
        test_methods.test_the_gradient_reaches_the_encoders_first_layer,
        test_methods.test_forward_writes_no_state_but_the_statistics_of_batch_norm,
        test_methods.test_a_method_says_what_it_is_in_a_line,
    ],
)
def test_the_documented_method_passes_the_tests_of_methods(claim: Callable[[str], None], added: None) -> None:
    claim("simsiam")


@pytest.mark.parametrize("recipe", ["simsiam", "simsiam_paper"])
def test_the_documented_method_and_its_recipes_can_be_run(
    recipe: str, photos: Path, tiny: dict[str, Any], added: None, tmp_path: Path
) -> None:
    options = {key: value for key, value in tiny.items() if not key.startswith("clusters.")}
    ran = divcon.run(photos, out=tmp_path / "run", recipe=recipe, epochs=1, **options)
    assert ran.did == ["base"]
