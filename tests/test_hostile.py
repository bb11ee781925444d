"""A neglected folder: usable images are trained on, all other files are listed with a reason."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TINY
from test_collection import REASONS, aged, litter, obey_permissions

from divcon.data.synthetic import make_collection
from divcon.files.text import printable

GOOD = 300
ODD = 9  # of what litter() leaves, these are pictures of their own: strange, but whole


@pytest.fixture(scope="module")
def pile(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """Make 300 images, and one file of each kind that goes wrong; one of them is not readable."""
    folder = make_collection(tmp_path_factory.mktemp("hostile") / "pile", GOOD, size=32)
    litter(folder, folder / "disc" / "00000.png")
    secret = folder / "bad" / "secret.png"
    secret.write_bytes((folder / "disc" / "00001.jpg").read_bytes())
    secret.chmod(0)
    return aged(folder)


def by_anyone(*words: str) -> "subprocess.CompletedProcess[str]":
    """Run a command as a user who is not root."""
    command = [sys.executable, "-m", "divcon", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, preexec_fn=obey_permissions
    )


REJECTED = {**REASONS, b"bad/secret.png": "permission_denied"}
DUPLICATES = {b"odd/copy.png", b"odd/link.png"}


def listed(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_looking_at_the_pile_counts_every_file_once(pile: Path) -> None:
    done = by_anyone("look", str(pile), "--json")
    assert done.returncode == 0, done.stderr
    account = json.loads(done.stdout)
    assert (account["used"], account["duplicates"], account["rejected"]) == (GOOD + ODD, len(DUPLICATES), len(REJECTED))
    assert account["found"] == GOOD + ODD + len(DUPLICATES) + len(REJECTED)
    reasons = list(REJECTED.values())
    assert account["reasons"] == {reason: reasons.count(reason) for reason in reasons}


def test_the_pile_is_trained_on_and_what_was_left_out_is_listed(pile: Path, tmp_path: Path) -> None:
    options = [f"{key}={value}" for key, value in {**TINY, "epochs": 1}.items()]
    done = by_anyone("run", str(pile), f"out={tmp_path / 'run'}", *options, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["done"] is True
    assert "permission_denied 1" in done.stderr and "too_many_pixels 1" in done.stderr
    images = tmp_path / "run" / "images"
    rejected = {row["path"]: row["reason"] for row in listed(images / "rejected.csv")}
    assert rejected == {printable(path): reason for path, reason in REJECTED.items()}
    duplicates = {row["path"]: row["same_as"] for row in listed(images / "duplicates.csv") if row["kind"] == "copy"}
    assert duplicates == {printable(path): "disc/00000.png" for path in DUPLICATES}
    assert json.loads((tmp_path / "run" / "run.json").read_text())["used"] == GOOD + ODD


def test_no_name_reaches_the_screen_raw(pile: Path, tmp_path: Path) -> None:
    odd = pile / "odd" / os.fsdecode(b"\x1b[31mred\xff\n.png")
    odd.write_bytes(b"no image")
    try:
        done = by_anyone("index", str(pile), f"out={tmp_path / 'index'}")
    finally:
        odd.unlink()
    assert done.returncode == 0
    text = (tmp_path / "index" / "rejected.csv").read_text() + done.stdout + done.stderr
    assert "\x1b" not in text and r"odd/\x1b[31mred\xff\n.png" in text
