"""The page of a report: one HTML file that needs nothing else."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ..files.text import printable
from .map import ImageMap
from .parts import Line, Section

STYLES = "page.css", "map.css"  # in divcon/reports/templates
SCRIPTS = "map_view.js", "map_draw.js", "map_panel.js", "map_input.js"  # each uses what those before it define


@dataclass(frozen=True)
class Page:
    """All that the templates show. `title` is the name of the run, and `notices` say what is missing on the page."""

    title: str
    notices: Sequence[str]
    lines: Sequence[Line]
    sections: Sequence[Section]
    map: ImageMap | None


def render(page: Page) -> str:
    """Return the HTML of a page. Every variable is escaped, and control characters in it are shown as escapes."""
    script = _script() if page.map is not None else Markup("")
    style = Markup("\n".join(_source(name) for name in STYLES))
    template = _environment().get_template("page.html")
    return template.render(page=page, script=script, style=style, script_hash=content_hash(script))


def _script() -> Markup:
    """Return the scripts as one function, whose names no other script sees."""
    return Markup('(() => {{\n"use strict";\n{}\n}})();').format(Markup("\n".join(map(_source, SCRIPTS))))


def content_hash(script: str) -> str:
    """Return the hash by which a content security policy allows this inline script, and no other."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _source(name: str) -> str:
    file = files(__package__) / "templates" / name
    return file.read_text(encoding="utf-8")


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
