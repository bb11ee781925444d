"""The packages that divcon needs and that are missing here, with the wheels to bring to a machine without internet."""

import importlib
import platform
import tomllib
from importlib import metadata
from pathlib import Path

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
ALSO = ["lightly>=1.6", "lightning-utilities>=0.8"]  # for the comparison only: left out where it is missing
NEEDED_BY_THEM = {"pydantic": ["pydantic-core", "annotated-types", "typing-inspection", "typing-extensions"]}
PIP = "pip download --no-deps --only-binary=:all: --python-version {python} --platform manylinux_2_28_x86_64 -d wheels"


def missing() -> list[str]:
    """The requirements that are not met, as they are written for pip."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    found = [line for line in [*project["dependencies"], *ALSO] if not is_met(line)]
    names = [name_of(line) for line in found]
    return [*found, *(need for name in names for need in NEEDED_BY_THEM.get(name, []) if not is_met(need))]


def is_met(requirement: str) -> bool:
    """True if a version is installed that is not below the floor. Upper bounds are what was tried, and do not count."""
    name, _, floor = requirement.partition(">=")
    try:
        installed = metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return not floor or numbers(installed) >= numbers(floor.partition(",")[0])


def name_of(requirement: str) -> str:
    return requirement.partition(">=")[0]


def numbers(version: str) -> list[int]:
    """The leading numbers of a version: [2, 11, 0] for 2.11.0+cu130."""
    public = version.partition("+")[0].split(".")
    return [int(part) for part in public if part.isdigit()]


def broken() -> list[str]:
    """The packages that are installed and can't be imported, with the reason: numba refuses a numpy that is too new."""
    reasons = []
    for name in ("numba", "torch", "torchvision", "timm", "pyarrow", "PIL"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            reasons.append(f"{name}: {str(error).splitlines()[0]}")
    return reasons


def advice(requirements: list[str]) -> str:
    """What to type where there is internet, and here afterwards."""
    python = ".".join(platform.python_version_tuple()[:2])
    wanted = " ".join(f"'{requirement}'" for requirement in requirements)
    return "\n".join(
        [
            f"missing here: {', '.join(requirements)}",
            f"where there is internet: {PIP.format(python=python)} {wanted}",
            "here: pip install --no-index --no-deps --upgrade --target site wheels/*.whl; export PYTHONPATH=site:$PYTHONPATH",
        ]
    )
