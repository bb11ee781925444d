"""The map in a browser: Chromium opens a report, and a script uses it as people do (`make browser` installs both)."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from made_map import made_map

from divcon.reports.map import ImageMap
from divcon.reports.page import Page, render

FOLDER = Path(__file__).parent / "browser"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
MISSING = [
    name
    for name, is_there in {
        "node": shutil.which("node"), "node_modules": (FOLDER / "node_modules").is_dir(), "Chromium": Path(CHROMIUM).is_file(),
    }.items()
    if not is_there
]  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(MISSING), reason=f"no {' and no '.join(MISSING)}: make browser"),
]


def faults(image_map: ImageMap, folder: Path, *words: str) -> list[str]:
    """Return what is wrong with the page of a map: requests, errors, faults of accessibility, and what does not work."""
    (folder / "report.html").write_text(render(Page("runs/made", [], [], [], image_map)))
    done = subprocess.run(
        ["node", FOLDER / "report.mjs", folder / "report.html", folder, *words], capture_output=True, text=True
    )
    assert (folder / "findings.json").is_file(), done.stderr
    found: list[str] = json.loads((folder / "findings.json").read_text())["faults"]
    return found


def test_a_map_of_names_that_are_markup_works(tmp_path: Path) -> None:
    assert faults(made_map(300, 9, hostile=True), tmp_path) == []
    assert len(list(tmp_path.glob("*.png"))) >= 12 and len(list(tmp_path.glob("*.pdf"))) == 2


def test_a_map_without_pictures_works(tmp_path: Path) -> None:
    assert faults(made_map(120, 25, pictures=False), tmp_path, "laptop", "light") == []


def test_a_map_of_one_image_works(tmp_path: Path) -> None:
    assert faults(made_map(1, 1), tmp_path, "laptop", "light") == []


def test_a_fault_would_be_found(tmp_path: Path) -> None:
    image_map = made_map(60, 2)
    page = render(Page("runs/made", [], [], [], image_map))
    (tmp_path / "broken.html").write_text(page.replace("</main>", '<img src="https://example.com/x.png"></main>'))
    done = subprocess.run(
        ["node", FOLDER / "report.mjs", tmp_path / "broken.html", tmp_path, "laptop", "light"], capture_output=True
    )
    found = " ".join(json.loads((tmp_path / "findings.json").read_text())["faults"])
    assert done.returncode == 1 and "Content Security Policy" in found and "alternative text" in found
