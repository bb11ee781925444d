"""The page of a report: one HTML file that needs nothing else."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ..files.text import printable
from .parts import Line, Section
from .sample import Sample

SCRIPTS = ("map.js",)  # in divcon/reports/templates; the scripts of the page
STYLES = ("page.css", "map.css")


@dataclass(frozen=True)
class Page:
    """All that the templates show. `title` is the name of the run, and `notices` say what is missing on the page."""

    title: str
    notices: Sequence[str]
    lines: Sequence[Line]
    sections: Sequence[Section]
    sample: Sample | None


def render(page: Page) -> str:
    """Return the HTML of a page. Every variable is escaped, and control characters in it are shown as escapes."""
    script = Markup("\n".join(_source(name) for name in SCRIPTS))
    style = Markup("\n".join(_source(name) for name in STYLES))
    template = _environment().get_template("page.html")
    return template.render(page=page, script=script, style=style, script_hash=content_hash(script))


def content_hash(script: str) -> str:
    """Return the hash by which a content security policy allows this inline script, and no other."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _source(name: str) -> str:
    file = files(__package__) / "templates" / name
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("divcon.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters["thousands"] = lambda number: f"{number:,}"
    environment.tests["whole"] = lambda value: isinstance(value, int)
    return environment


def _printable(value: object) -> object:
    """Show control characters of a text, also those that turn the direction of reading, as escapes."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
