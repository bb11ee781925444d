"""The package as others get it: one version, named licenses, and a wheel that works far from the repository."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import divcon
from divcon.data.synthetic import make_collection

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
TABLE = (ROOT / "docs/dependencies.md").read_text()
ROW = re.compile(r"^\| ([\w-]+) \| .+ \| ([\w.-]+) \| ([\w, ]+) \|$", re.MULTILINE)

PERMISSIVE = {"MIT", "MIT-CMU", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "ISC", "PSF-2.0"}
WORDS = {"PSF": "Python Software Foundation"}  # the name of a license in metadata, where it is not that of SPDX


def groups() -> dict[str, set[str]]:
    """Return the packages that pyproject.toml asks for, by the extra; those of no extra are `divcon`."""
    asked = {"divcon": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
    return {extra: {canonicalize_name(Requirement(line).name) for line in lines} for extra, lines in asked.items()}


def listed() -> dict[str, tuple[str, set[str]]]:
    """Return the license, and the extras, of each package in the table of docs/dependencies.md."""
    rows = ROW.findall(TABLE.rpartition("---|")[2])
    return {canonicalize_name(name): (license, set(extras.split(", "))) for name, license, extras in rows}


# one version


def test_the_version_is_written_once_and_the_changelog_begins_with_it() -> None:
    assert PROJECT["dynamic"] == ["version"] and "version" not in PROJECT
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest and newest[1] == divcon.__version__ == str(CITATION["version"])


def test_the_citation_has_what_its_format_asks_for() -> None:
    assert CITATION["cff-version"] == "1.2.0" and CITATION["type"] == "software"
    assert CITATION["message"] and CITATION["license"] == PROJECT["license"]
    assert CITATION["authors"] == PROJECT["authors"]
    paper = CITATION["preferred-citation"]
    assert paper["type"] and paper["title"] and all(author["family-names"] for author in paper["authors"])
    assert paper["url"].rpartition("/")[2] in divcon.__doc__


# licenses


def test_every_dependency_is_in_the_table_with_its_extras() -> None:
    asked: dict[str, set[str]] = {}
    for extra, names in groups().items():
        for name in names:
            asked.setdefault(name, set()).add(extra)
    for name in groups()["divcon"]:
        asked[name] = {"divcon"}  # whatever asks for it again
    there = {name: extras for name, (_, extras) in listed().items()}
    assert {name: extras for name, extras in asked.items() if not extras <= there.get(name, set())} == {}
    assert {name for name, extras in there.items() if name not in asked and extras <= {*groups()}} == set()


def test_what_a_user_installs_has_a_permissive_license() -> None:
    copyleft = {name: (license, extras) for name, (license, extras) in listed().items() if license not in PERMISSIVE}
    assert all(extras <= {"test", "bench", "fuzz", "docs"} for _, extras in copyleft.values()), copyleft


@pytest.mark.parametrize("name", sorted(listed()))
def test_the_license_in_the_table_is_the_one_that_the_package_names(name: str) -> None:
    try:
        about = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{name} is not installed")
    classifiers = [line for line in about.get_all("Classifier") or [] if line.startswith("License")]
    named = " ".join([about.get("License-Expression") or "", (about.get("License") or "")[:2000], *classifiers])
    family = listed()[name][0].partition("-")[0]
    assert not named.strip() or family in named or WORDS.get(family, family) in named


# the wheel


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution, built from a copy of what git tracks."""
    folder = tmp_path_factory.mktemp("built")
    tracked = tracked_files()
    for name in tracked:
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    templates = folder / "source/divcon/planted/templates"
    templates.mkdir(parents=True)
    (templates / "a.html").write_text("a file that is no module")
    (folder / "source/divcon/__pycache__").mkdir()
    (folder / "source/divcon/__pycache__/kernel.nbi").write_text("compiled code of this machine")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(folder / "source")]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def tracked_files() -> list[str]:
    listing = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(listing, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("only a repository tells which files belong to it")
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.slow
def test_the_wheel_has_each_file_of_the_package_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = {name for name in tracked_files() if name.startswith("divcon/")}
    assert inside == package | {"divcon/planted/templates/a.html"}
    assert any(name.endswith("licenses/LICENSE") for name in zipfile.ZipFile(wheel).namelist())


@pytest.mark.slow
def test_the_source_distribution_has_each_file_that_git_tracks(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        inside = {name.partition("/")[2] for name in tar.getnames()}
    assert set(tracked_files()) - inside == set()


@pytest.fixture(scope="module")
def installed(built: Path) -> Path:
    """The folder with the programs of an environment that has the wheel, and the packages of this environment."""
    home = built / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    (wheel,) = built.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin/python"), "install", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    (packages,) = home.glob("lib/python*/site-packages")
    others = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "others.pth").write_text("\n".join(others))
    return home / "bin"


@pytest.mark.slow
@pytest.mark.timeout(1200)  # each kernel is compiled again: the package lies in a new place
def test_the_wheel_does_a_run_far_from_the_repository(installed: Path, tmp_path: Path) -> None:
    def told(*command: str) -> str:
        env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "NUMBA_CACHE_DIR")}
        env["DIVCON_CACHE"] = str(tmp_path / "cache")
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    python, program = str(installed / "python"), str(installed / "divcon")
    assert told(program, "--version") == told(python, "-m", "divcon", "--version") == f"divcon {divcon.__version__}\n"
    assert str(installed.parent) in told(python, "-c", "import divcon; print(divcon.__file__)")
    version = "from importlib.metadata import version; print(version('divcon'))"
    assert told(python, "-c", version) == f"{divcon.__version__}\n"
    make_collection(tmp_path / "photos", 64, size=32)
    small = ["encoder=slim10_w8", "size=16", "batch_size=16", "clusters.k=2", "clusters.smallest=16", "epochs=1"]
    told(program, "run", "photos", "out=run", *small, "hidden=32", "dim=16", "precision=fp32")
    assert (tmp_path / "run/student/encoder.safetensors").exists()
    told(program, "eval", "run", "photos", "tasks=knn")
    if "  report " in told(program, "--help"):
        told(program, "report", "run")
