"""Options: parsed, checked, and changed by their dotted names."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from divcon.config import (
    differences,
    option_names,
    parse_options,
    parse_value,
    to_json_value,
    validate_arguments,
    validate_fields,
    with_options,
)
from divcon.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Part:
    lr: float = 0.1
    rounds: int = 3
    layer: Literal["pool", "hidden"] = "pool"
    options: dict[str, Any] = field(default_factory=lambda: {"temperature": 0.1})


@dataclass(frozen=True, kw_only=True)
class Whole:
    base: Part = field(default_factory=Part)
    student: Part = field(default_factory=Part)
    k: int = 5


def refusal(do: Callable[[], object]) -> str:
    with pytest.raises(UsageError) as error:
        do()
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3), ("3.5", 3.5), ("1e-3", 1e-3), ("true", True), ("False", False), ("none", None), ("null", None),
        ("[0.5, 0.4]", [0.5, 0.4]), ("slim10", "slim10"), ("", ""), ("runs/a=b", "runs/a=b"), ('"3"', "3"),
    ],
)  # fmt: skip
def test_a_value_is_read_as_it_looks(text: str, value: object) -> None:
    assert parse_value(text) == value and type(parse_value(text)) is type(value)


def test_only_the_first_equals_sign_divides() -> None:
    assert parse_options(["out=a=b", "epochs=60"]) == {"out": "a=b", "epochs": 60}


@pytest.mark.parametrize("words", [["epochs"], ["=60"], ["epochs=1", "epochs=2"]])
def test_what_is_no_option_is_refused_as_it_was_typed(words: list[str]) -> None:
    assert words[-1].partition("=")[0] in refusal(lambda: parse_options(words))


def test_a_dotted_change_changes_its_leaf_and_nothing_else() -> None:
    now = with_options(Whole(), {"student.lr": 0.5, "k": 7})
    assert now == Whole(student=Part(lr=0.5), k=7)


def test_a_methods_own_option_is_reached_through_its_dictionary() -> None:
    assert with_options(Whole(), {"base.options.momentum": 0.9}).base.options == {"temperature": 0.1, "momentum": 0.9}


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("base.lrr", "base.lr"), ("bse.lr", "base.lr"), ("base.optoins", "base.options"), ("kk", "k"),
        ("student.ruonds", "student.rounds"), ("base.optoins.temperature", "base.options"),
    ],
)  # fmt: skip
def test_a_misspelt_option_is_answered_with_the_one_that_was_meant(key: str, meant: str) -> None:
    words = refusal(lambda: with_options(Whole(), {key: 1}))
    assert f"{key!r}; did you mean {meant!r}?" in words


def test_an_option_like_no_other_is_answered_with_all_there_are() -> None:
    words = refusal(lambda: with_options(Whole(), {"zzzzzz": 1}))
    assert all(name in words for name in option_names(Whole))


@pytest.mark.parametrize("key", ["base.lr.x", "base.options.zzz.y"])
def test_nothing_lies_below_an_option(key: str) -> None:
    assert repr(key) in refusal(lambda: with_options(Whole(), {key: 1}))


def test_a_group_is_refused_and_its_options_are_named() -> None:
    words = refusal(lambda: with_options(Whole(), {"base": 1}))
    assert "group of options" in words and "base.lr" in words and "base.layer" in words


@pytest.mark.parametrize(
    ("key", "value"),
    [("base.lr", "fast"), ("k", 2.5), ("k", "many"), ("base.layer", "nose"), ("student.lr", float("nan")), ("k", None)],
)
def test_a_wrong_type_is_refused_with_the_option_as_typed(key: str, value: object) -> None:
    assert f"{key}={value}" in refusal(lambda: with_options(Whole(), {key: value}))


def test_numbers_are_taken_in_any_spelling() -> None:
    assert validate_fields(Part, {"lr": 1, "rounds": "4"}) == Part(lr=1.0, rounds=4)


def test_an_unknown_field_in_python_is_refused_like_one_that_is_typed() -> None:
    assert "did you mean 'base.rounds'?" in refusal(lambda: validate_fields(Part, {"ruonds": 3}, "base."))


def test_every_field_is_in_the_description() -> None:
    account = to_json_value(Whole())
    assert account == {"base": to_json_value(Part()), "student": to_json_value(Part()), "k": 5}
    assert to_json_value(Part()) == {"lr": 0.1, "rounds": 3, "layer": "pool", "options": {"temperature": 0.1}}


def test_an_artifact_is_described_by_its_fingerprint() -> None:
    class Made:
        fingerprint = "abc"

    assert to_json_value([Made(), (1, Made())]) == ["abc", [1, "abc"]]


def test_leaves_are_the_options_as_they_are_typed() -> None:
    assert list(option_names(Whole))[:4] == ["base.lr", "base.rounds", "base.layer", "base.options"]
    assert list(option_names(Whole))[-1] == "k"


def test_differences_are_found_at_their_dotted_places() -> None:
    old, new = (
        to_json_value(Whole()),
        to_json_value(with_options(Whole(), {"student.lr": 0.5, "base.options.temperature": 0.2})),
    )
    assert differences(old, new) == [("base.options.temperature", 0.1, 0.2), ("student.lr", 0.1, 0.5)]
    assert differences([1, {"a": 2}], [1, {"a": 3}]) == [("1.a", 2, 3)]
    assert differences([1], [1, 2]) == [("", [1], [1, 2])]
    assert differences({"a": 1}, {"b": 1}) == [("a", 1, None), ("b", None, 1)]


def test_a_verbs_options_are_checked_by_its_own_signature() -> None:
    def verb(data: str, *, workers: int | None = None, layer: Literal["pool", "hidden"] = "pool") -> None: ...

    assert validate_arguments(verb, {"workers": "3", "layer": "hidden"}) == {"workers": 3, "layer": "hidden"}
    for key, value in {"workers": "many", "layer": "nose"}.items():
        assert f"{key}={value}: " in refusal(lambda key=key, value=value: validate_arguments(verb, {key: value}))
