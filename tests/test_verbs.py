"""The verbs: found by their files, the same on the command line and in Python, and what the lists of names hold."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_cli import told
from test_pipeline import finished, typed

import divcon
from divcon.errors import UsageError
from divcon.methods.registry import method_files
from divcon.recipes import Options, named

# All that a verb needs: divcon/api/largest.py and divcon/cli/largest.py.
API = '''
"""Name the largest stages of a run."""

from dataclasses import dataclass
from pathlib import Path

from ..answers import Answer
from .entry import runs_concurrently
from .status import run_record


@dataclass(frozen=True)
class LargestAnswer(Answer):
    """Bytes of each stage, the largest first."""

    stages: dict[str, int]


@runs_concurrently
def largest(run: str | Path, *, n: int = 3) -> LargestAnswer:
    """Return the bytes of the n largest stages of a run."""
    run_record(Path(run))
    files = Path(run).rglob("encoder.safetensors")
    sizes = {str(file.parent.relative_to(run)): file.stat().st_size for file in files}
    return LargestAnswer(dict(sorted(sizes.items(), key=lambda item: -item[1])[:n]))
'''
CLI = '''
"""divcon largest RUN [n=3]"""

from .arguments import Json, RunArgument, Words, typed_options
from .terminal import print_answer, table


def largest(run: RunArgument, words: Words = None, json: Json = False) -> None:
    """Name the largest stages of a run."""
    options = typed_options(words, "n")
    from ..api import largest
    from ..config import validate_arguments

    answer = largest.largest(run, **validate_arguments(largest.largest, options))
    print_answer(answer, json, table(["stage", "bytes"], [[name, f"{size:,}"] for name, size in answer.stages.items()]))
'''


@pytest.fixture
def largest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A verb in two files, in folders where the package finds its own."""
    for name, text in {"divcon.api": API, "divcon.cli": CLI}.items():
        package, folder = importlib.import_module(name), tmp_path / name
        folder.mkdir()
        (folder / "largest.py").write_text(text)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    yield
    for name in ("divcon.api.largest", "divcon.cli.largest"):
        sys.modules.pop(name, None)


def test_a_verb_in_two_files_can_be_typed_and_called(
    largest: None, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished(photos)
    answer = divcon.largest(run, n=1)
    assert len(answer.stages) == 1 and set(answer.stages) < set(divcon.status(run).stages)
    assert typed(["largest", str(run), "n=1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == answer.as_json()
    assert typed(["largest", str(run)]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["stage", "bytes"]
    assert typed(["--help"]) == 0 and "\n  largest " in capsys.readouterr().out


def test_a_verb_in_two_files_refuses_as_every_verb_does(
    largest: None, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(finished(photos))
    assert told(["largest", run, "nn=1"], capsys) == (64, "divcon: unknown option 'nn'; did you mean 'n'?")
    assert told(["largest", run, "n=many"], capsys)[0] == 64
    assert told(["largest", str(photos)], capsys)[0] == 66


def test_a_verb_that_is_not_there_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'largest'; its verbs are compare, demo"):
        divcon.largest  # noqa: B018
    assert typed(["largest"]) == 64


def test_python_m_divcon_is_the_command_line() -> None:
    done = subprocess.run([sys.executable, "-m", "divcon", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"divcon {divcon.__version__}\n")
    assert subprocess.run([sys.executable, "-m", "divcon", "lok"], capture_output=True).returncode == 64


def test_the_tab_key_completes_verbs_and_flags() -> None:
    def completed(words: str) -> list[str]:
        typed_so_far = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
        environment = {**os.environ, **typed_so_far, "_DIVCON_COMPLETE": "complete_bash"}
        command = [sys.executable, "-c", "import sys; sys.argv = ['divcon']; from divcon.cli import main; main()"]
        return subprocess.run(command, env=environment, capture_output=True, text=True).stdout.split()

    assert completed("divcon sta") == ["status"]
    assert completed("divcon run photos/ --ste") == ["--steal-lock"]


def test_methods_lists_every_method_that_a_recipe_takes_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    def takes(method: str) -> bool:
        try:
            named("dnc").recipe(Options(method=method, encoder="slim10", size=64, batch_size=64, views="byol"), 10_000)
        except UsageError:
            return False
        return True

    assert typed(["methods", "--json"]) == 0
    listed = set(json.loads(capsys.readouterr().out))
    assert listed == {name for name in method_files() if takes(name)}
    assert "moclr" in listed and not listed & {"contract", "distill", "classify"}


def test_all_about_one_recipe_is_shown_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(["recipes", "moclr_paper"]) == 0
    shown = capsys.readouterr().out
    assert "divcon run DATA out=RUN recipe=moclr_paper" in shown and "Expected: " in shown
    assert told(["recipes", "moclar"], capsys) == (64, "divcon: unknown recipe 'moclar'; did you mean 'moclr'?")
