"""Answers: dataclasses that are JSON for programs and a table in a notebook, where no file name becomes markup."""

import dataclasses
import importlib
import inspect
import json
import pkgutil
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest
from test_pipeline import finished, typed

import divcon
from divcon import api, cli
from divcon.answers import MAX_ROWS, Answer

LISTS = {"encoders": "list_encoders", "methods": "list_methods", "recipes": "list_recipes"}  # two of these are rooms


@dataclass(frozen=True)
class Part(Answer):
    name: str
    share: float


@dataclass(frozen=True)
class Whole(Answer):
    folder: Path
    parts: dict[str, Part]
    rate: float | None
    names: list[str]
    why: str | None = None


WHOLE = Whole(Path("runs/a"), {"x": Part("one", 0.5), "y": Part("two", 1234567.0)}, None, ["a", "b"])


class Tags(HTMLParser):
    """The tags and the text of HTML; AssertionError for a tag that is not closed."""

    def __init__(self, html: str):
        super().__init__()
        self.open, self.tags, self.text = list[str](), set[str](), ""
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data}|"


def test_an_optional_field_is_left_out_of_the_json_and_any_other_none_stays() -> None:
    answer = WHOLE.as_json()
    assert json.loads(json.dumps(answer)) == {
        "folder": "runs/a",
        "parts": {"x": {"name": "one", "share": 0.5}, "y": {"name": "two", "share": 1234567.0}},
        "rate": None,
        "names": ["a", "b"],
    }
    assert dataclasses.replace(WHOLE, why="").as_json()["why"] == ""


def test_a_mapping_of_parts_is_a_table_with_a_row_each() -> None:
    html = Tags(WHOLE._repr_html_())
    assert html.tags == {"table", "caption", "tr", "th", "td"}
    assert html.text.startswith("Whole|folder|runs/a|parts|name|share|x|one|0.5|y|two|1.235e+06|rate|-|names|a, b|")


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", 'a"><img src=x onerror=y>', "a\nb\x1b[31m", "\udce9&amp;"]
)
def test_no_name_becomes_markup_or_a_control_character(name: str) -> None:
    hostile = Whole(Path(name), {name: Part(name, 0.0)}, None, [name], why=name)
    html = hostile._repr_html_()
    assert Tags(html).tags == {"table", "caption", "tr", "th", "td"}
    assert html.isprintable() and html.encode()


def test_a_table_of_very_many_rows_is_cut_and_says_so() -> None:
    many = Whole(Path(), {str(i): Part("x", 0.0) for i in range(MAX_ROWS + 23)}, None, ["n"] * (MAX_ROWS + 7))
    html = many._repr_html_()
    assert "and 23 more" in html and "and 7 more" in html and html.count("<tr>") < MAX_ROWS + 10


def verbs_of_python() -> list[str]:
    """The names NAME of the files api/NAME.py with a function NAME."""
    modules = {name: importlib.import_module(f"divcon.api.{name}") for _, name, _ in pkgutil.iter_modules(api.__path__)}
    return [name for name, module in modules.items() if inspect.isfunction(getattr(module, name, None))]


def test_every_verb_of_the_command_line_is_a_function_of_that_name_in_python() -> None:
    for verb in cli.verbs():
        assert inspect.isfunction(getattr(divcon, LISTS.get(verb, verb))), verb
    assert divcon.eval is divcon.evaluate


def test_editors_are_told_of_every_verb_of_python() -> None:
    assert set(verbs_of_python()) == set(divcon.__all__)


def test_every_verb_answers_with_a_frozen_dataclass_or_names() -> None:
    for verb in verbs_of_python():
        answer = inspect.get_annotations(inspect.unwrap(getattr(divcon, verb)), eval_str=True)["return"]
        if verb == "load":
            continue
        assert answer == dict[str, str] or (issubclass(answer, Answer) and answer.__dataclass_params__.frozen), verb


def test_the_answers_of_a_run_are_shown_in_a_notebook_with_their_numbers(photos: Path) -> None:
    run = finished(photos)
    text = Tags(divcon.status(run)._repr_html_()).text
    assert "|base|" in text and "|experts/1|" in text and "images_per_second" in text and "|160|" in text
    assert "EvaluateAnswer|" in Tags(divcon.evaluate(run, photos, tasks="knn")._repr_html_()).text


def test_the_json_of_the_command_line_is_that_of_the_answer(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished(photos)
    assert typed(["status", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == divcon.status(run).as_json()
    assert typed(["look", str(photos), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == divcon.look(photos).as_json()
    for verb, twin in LISTS.items():
        assert typed([verb, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == getattr(divcon, twin)()
