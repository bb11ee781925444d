"""Answers of the verbs: frozen dataclasses that turn into JSON for programs, and into a table in a notebook."""

import dataclasses
import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from .config import Json
from .files.text import printable

MAX_ROWS = 100  # of a table in a notebook
MAX_TEXT = 500  # characters of a cell


@dataclasses.dataclass(frozen=True)
class Answer:
    """The base class of answers. A field with the default None is left out of the JSON while it is None."""

    def as_json(self) -> dict[str, Json]:
        """Return the fields, and those of the dataclasses inside them, as JSON values."""
        return fields_of(self)

    def _repr_html_(self) -> str:
        """Return the answer as an HTML table, for notebooks."""
        caption = f"<caption>{_escaped(type(self).__name__)}</caption>"
        return as_html(self).replace("<table>", f"<table>{caption}", 1)


def fields_of(answer: object) -> dict[str, Json]:
    """Return the fields of a dataclass as JSON values, without optional ones that are None."""
    return {name: as_json(value) for name, value in _present(answer).items()}


def as_json(value: object) -> Json:
    """Return a JSON value for what an answer may hold: dataclasses, mappings, sequences, paths, numbers and text."""
    if dataclasses.is_dataclass(value):
        return fields_of(value)
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    assert value is None or isinstance(value, str | int | float), f"{type(value).__name__} has no place in an answer"
    return value


def as_html(value: object) -> str:
    """Return the HTML of a value: a table for a dataclass, a mapping or a sequence of these, text for all else.

    File names are a stranger's: each text is made printable and escaped.
    """
    if dataclasses.is_dataclass(value) or isinstance(value, Mapping):
        named = _named(value)
        if named and all(_is_row(item) for item in named.values()):
            return _grid({_text(name): _named(item) for name, item in named.items()})
        return _table([[f"<th>{_text(name)}</th>", f"<td>{as_html(item)}</td>"] for name, item in named.items()])
    if isinstance(value, list | tuple) and value and all(_is_row(item) for item in value):
        return _grid({str(i): _named(item) for i, item in enumerate(value)})
    if isinstance(value, list | tuple):
        more = len(value) - MAX_ROWS
        return ", ".join(as_html(item) for item in value[:MAX_ROWS]) + (f", and {more:,} more" if more > 0 else "")
    return _text(value)


def _present(answer: object) -> dict[str, object]:
    """The fields of a dataclass by name, without those that are None by default and are None."""
    assert dataclasses.is_dataclass(answer)
    optional = {field.name for field in dataclasses.fields(answer) if field.default is None}
    values = {field.name: getattr(answer, field.name) for field in dataclasses.fields(answer)}
    return {name: value for name, value in values.items() if value is not None or name not in optional}


def _named(value: object) -> Mapping[object, object]:
    return dict((value if isinstance(value, Mapping) else _present(value)).items())


def _is_row(value: object) -> bool:
    """True for a dataclass or mapping without another one inside."""
    if not (dataclasses.is_dataclass(value) or isinstance(value, Mapping)):
        return False
    return not any(dataclasses.is_dataclass(item) or isinstance(item, Mapping) for item in _named(value).values())


def _grid(rows: Mapping[str, Mapping[object, object]]) -> str:
    """A table with a row for each name and a column for each field."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    head = ["<th></th>", *(f"<th>{_text(name)}</th>" for name in columns)]
    body = [
        [f"<th>{name}</th>", *(f"<td>{as_html(row[column]) if column in row else ''}</td>" for column in columns)]
        for name, row in rows.items()
    ]
    return _table([head, *body])


def _table(rows: Sequence[Sequence[str]]) -> str:
    more = len(rows) - 1 - MAX_ROWS
    lines = [f"<tr>{''.join(cells)}</tr>" for cells in rows[: MAX_ROWS + 1]]
    rest = f"<tr><td>and {more:,} more</td></tr>" if more > 0 else ""
    return f"<table>{''.join(lines)}{rest}</table>"


def _text(value: object) -> str:
    """The escaped text of a value: numbers are grouped by thousands, and None is a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _escaped(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _escaped(value: object) -> str:
    text = value if isinstance(value, str | bytes | os.PathLike) else str(value)
    shown = printable(Path(text) if isinstance(text, os.PathLike) else text)
    return html.escape(shown if len(shown) <= MAX_TEXT else f"{shown[:MAX_TEXT]}...")
