"""Hooks of mkdocs, so that each document has the same links on a site and in a repository.

A document may link to a file outside docs/. The site has such a file in its folder `project/`, and the link leads there.
"""

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import divcon

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PROJECT = "project"
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "LOG.md")  # outside docs/, with a place in the navigation
LINK = re.compile(r"\]\((?!\w+:|#)([^)\s#]+)")
NESTED = re.compile(
    r"^ {2,3}(?=- |\d+\. )", re.MULTILINE
)  # an item of a list in a list; on the site it needs four blanks
VERBS = "<!-- each verb -->"

Nav = list[object] | dict[str, object] | str


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replace each folder in the navigation by its pages."""
    config.nav = _with_folders(config.nav)
    return config


def _with_folders(nav: Nav) -> Nav:
    if isinstance(nav, dict):
        return {title: _with_folders(below) for title, below in nav.items()}
    if isinstance(nav, list):
        return [_with_folders(below) for below in nav]
    return [f"{nav}{page.name}" for page in sorted((DOCS / nav).glob("*.md"))] if nav.endswith("/") else nav


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside docs/ that a page links to."""
    pages = [*DOCS.rglob("*.md"), *(ROOT / name for name in PAGES)]
    linked = {target for page in pages for target in map(page.parent.joinpath, LINK.findall(page.read_text()))}
    outside = {target.resolve() for target in linked if target.is_file()} | {ROOT / name for name in PAGES}
    for target in sorted(path for path in outside if not path.is_relative_to(DOCS)):
        files.append(File.generated(config, _on_site(target), abs_src_path=str(target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let each link lead to the place of its file on the site; fill in the list of verbs."""
    source = Path(str(page.file.abs_src_path))
    here = os.path.dirname(_on_site(source))  # noqa: PTH120 - a place on the site, no file

    def moved(link: re.Match[str]) -> str:
        target = (source.parent / link[1]).resolve()
        return f"]({os.path.relpath(_on_site(target), here or '.')}" if target.is_file() else link[0]

    verbs = "\n\n".join(f"::: divcon.{verb}" for verb in divcon.__all__)
    return NESTED.sub(" " * 4, LINK.sub(moved, markdown)).replace(VERBS, verbs)


def _on_site(path: Path) -> str:
    """The place of a file of the repository on the site, before pages become HTML."""
    inside = path.is_relative_to(DOCS)
    return path.relative_to(DOCS).as_posix() if inside else f"{PROJECT}/{path.relative_to(ROOT).as_posix()}"
