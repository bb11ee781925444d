"""The site of the documents: it is made without a network, each page has its place, each link leads somewhere, and no page
loads anything from elsewhere."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

import divcon

ROOT = Path(__file__).parent.parent
LOADED = {"src", "srcset", "data", "poster", "action", "formaction", "background"}
OFFLINE = """
import socket, sys
def refused(*_):
    raise OSError("the site asked for a network")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refused
from mkdocs.__main__ import cli
cli(sys.argv[1:])
"""


def build(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", OFFLINE, "build", "--strict", "-f", str(config), "-d", str(site)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=config.parent, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, made as `make docs` makes it, in a process that can't reach a network."""
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT / "mkdocs.yml", folder)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    return folder


class Page(HTMLParser):
    """The addresses that a page loads, those that it links to, and the anchors in it."""

    def __init__(self, path: Path):
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in LOADED or (tag == "link" and name == "href"):
                self.loads.append(value or "")
            elif tag == "a" and name == "href":
                self.links.append(value or "")
            elif name in ("id", "name"):
                self.anchors.add(value or "")


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def is_elsewhere(address: str) -> bool:
    """True for an address that leads out of the site: one with a host, or with a scheme that fetches."""
    parts = urlsplit(address.strip())
    return bool(parts.netloc) or parts.scheme in ("http", "https", "ftp", "ws", "wss")


def test_no_page_loads_anything_from_elsewhere(pages: dict[Path, Page]) -> None:
    assert len(pages) > 40
    assert {path.name: page.loads for path, page in pages.items() if any(map(is_elsewhere, page.loads))} == {}
    assert all(any(address.endswith(".css") for address in page.loads) for page in pages.values())


def test_no_style_loads_anything_from_elsewhere(site: Path) -> None:
    styles = [*site.rglob("*.css"), *site.rglob("*.svg")]
    loaded = [
        re.findall(r"(?:url\(|@import|xlink:href=|src=)\s*['\"]?([^'\")\s;]+)", path.read_text()) for path in styles
    ]
    assert any(loaded) and not [address for found in loaded for address in found if is_elsewhere(address)]


def test_no_script_on_a_page_asks_for_what_lies_elsewhere(pages: dict[Path, Page]) -> None:
    """The theme's script can fetch two libraries and a repository's stars, for pages that need them; none does."""
    for path in pages:
        text = path.read_text()
        assert 'class="mermaid"' not in text and 'data-md-component="source"' not in text


@pytest.mark.parametrize("address", ["https://a.b/c.js", "//a.b/c.css", "HTTP://a.b", " https://a.b/c"])
def test_an_address_elsewhere_would_be_noticed(address: str, tmp_path: Path) -> None:
    page = tmp_path / "a.html"
    page.write_text(f'<link rel="stylesheet" href="{address}"><script src="b.js"></script><a href="https://c.d">c</a>')
    assert [is_elsewhere(loaded) for loaded in Page(page).loads] == [True, False]


def test_every_link_and_every_file_that_a_page_loads_is_there(pages: dict[Path, Page]) -> None:
    missing = []
    for path, page in pages.items():
        if path.name == "404.html":  # its addresses begin at the root of a server
            continue
        for address in (*page.loads, *page.links):
            parts = urlsplit(address)
            if is_elsewhere(address) or parts.scheme or not (parts.path or parts.fragment):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            named = not parts.fragment or target not in pages or unquote(parts.fragment) in pages[target].anchors
            if not target.exists() or not named:
                missing.append((path.name, address))
    assert missing == []


def test_every_document_has_one_place_in_the_navigation() -> None:
    placed = list(places(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    folders = [place for place in placed if place.endswith("/")]
    documents = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    alone = {name for name in documents if not name.startswith(tuple(folders))}
    assert len(placed) == len(set(placed))
    assert alone == {place for place in placed if not place.endswith("/") and not place.startswith("project/")}


def places(nav: object) -> Iterator[str]:
    """Yield the pages and the folders of a navigation."""
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        for below in nav.values():
            yield from places(below)
    elif isinstance(nav, list):
        for below in nav:
            yield from places(below)


def test_the_python_page_has_every_verb_with_its_docstring(pages: dict[Path, Page], site: Path) -> None:
    page = pages[site / "api.html"]
    assert {f"divcon.{verb}" for verb in divcon.__all__} <= page.anchors
    assert {"divcon.methods.contract.Method.forward", "divcon.nets.net.Net"} <= page.anchors
    text = (site / "api.html").read_text()
    assert all(first_line(getattr(divcon, verb)) in text for verb in ("redo", "index"))


def test_a_list_in_a_list_stays_one(site: Path) -> None:
    promises = re.sub(r"\s+", " ", (site / "promises.html").read_text())
    assert re.search(r"<li>Promise 1:\s*<ul> <li><code>test_", promises)


def first_line(verb: object) -> str:
    return str(verb.__doc__).split(".")[0].split(";")[0]


@pytest.mark.parametrize(
    ("link", "leads"),
    [("missing.md", False), ("#missing", False), ("b.md#missing", False), ("../missing.py", False), ("b.md#b", True)],
)
def test_a_link_that_leads_nowhere_ends_the_build(link: str, leads: bool, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text(f"# A\n\n[a]({link})\n")
    (tmp_path / "docs/b.md").write_text("# B\n")
    validation = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["validation"]
    small = {"site_name": "a", "nav": ["index.md", "b.md"], "theme": "mkdocs", "plugins": [], "validation": validation}
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(small))
    assert (build(tmp_path / "mkdocs.yml", tmp_path / "site").returncode == 0) == leads
