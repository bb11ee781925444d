"""The processor, the code and the commit that make a row; nobody's host name."""

import hashlib
import json
import os
import shutil
import subprocess
import uuid
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks import machines
from divcon.files.atomic import make_folder
from divcon.files.integrity import digest
from divcon.runs.records import versions

ROOT = Path(__file__).parents[2]
COUNTED = ("divcon", *(f"studies/instrument/{name}" for name in ("job.py", "piles", "scores.py")))
OURS = ("divcon", "studies", "benchmarks", "pyproject.toml", ":!studies/rows")  # what has to be committed
TOLD = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "NUMBA_CPU_NAME")


@cache
def processor() -> dict[str, Any]:
    """The kind of processor. Its `id` is the same where bits are: on processors that can do the same, told the same."""
    told = [os.environ.get(name, "") for name in TOLD]
    can = digest(" ".join([*sorted(machines.flags()), *told]))[:4]
    flags = [flag for flag in machines.FLAGS if flag in machines.flags()]
    about = {
        "name": machines.kind(),
        "cores": os.cpu_count() or 1,
        "flags": flags,
        "told": [name for name in told if name],
    }
    return {"id": f"{machines.kind()}-{can}", **about}


def place(cache: Path) -> str:
    """A word for the machine that says nothing of it: drawn once and kept in the cache."""
    path = cache / "studies" / "place"
    if not path.exists():
        make_folder(path.parent)
        with path.with_name(f"place.{os.getpid()}").open("w") as file:
            file.write(uuid.uuid4().hex[:4])
        Path(file.name).replace(path)
    return path.read_text()


@cache
def code() -> str:
    """A digest of the code that a score depends on, and of its libraries' versions: commits between which none of these
    changed have the same."""
    folders = [ROOT / name for name in COUNTED]
    files = sorted(path for folder in folders for path in ([folder] if folder.is_file() else folder.rglob("*.py")))
    whole = hashlib.sha256(json.dumps(versions(), sort_keys=True).encode())
    for path in files:
        whole.update(f"{path.relative_to(ROOT)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()[:12]


def folder(runs: Path) -> Path:
    """The folder for runs of this code on such a processor: none goes on with what another has begun."""
    return runs / f"{code()}.{processor()['id']}"


@cache
def commit() -> dict[str, Any]:
    """The commit that is checked out, and whether files of the code differ from it; outside of a clone, nothing is known."""
    head = _git("rev-parse", "--short=12", "HEAD")
    return {"commit": head, "dirty": not head or bool(_git("status", "--porcelain", "--", *OURS))}


def _git(*words: str) -> str:
    """The answer of git; nothing if there is no git."""
    if shutil.which("git") is None:
        return ""
    return subprocess.run(["git", *words], capture_output=True, text=True, cwd=ROOT).stdout.strip()
