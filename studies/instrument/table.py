"""A study: a table of runs in a file of its own."""

import importlib
import importlib.util
import pkgutil
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import studies
from divcon.config import unknown_name
from divcon.errors import UsageError
from divcon.files.integrity import digest

UNTRAINED = "untrained"  # in a recipe's place: the encoder as it begins
VALIDATION, TEST = PARTS = "validation", "test"  # of the images
BUSY = 79  # the exit code of a run that another process is at
OURS = {"instrument", "many", "rows", "__main__"}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training that is scored, and the line of a table that it is part of: with its seeds a line has several.

    `against` is the line of the same table that it is compared with, seed by seed."""

    table: str
    line: str
    data: str
    recipe: str
    seed: int
    options: Mapping[str, Any] = field(default_factory=dict)
    against: str | None = None

    @property
    def asked(self) -> dict[str, Any]:
        """All that a score depends on, but for the code and the processor."""
        options = dict(sorted(self.options.items()))
        return {"data": self.data, "recipe": self.recipe, "options": options, "seed": self.seed}

    @property
    def name(self) -> str:
        """For people, and unlike the name of a run that was asked for otherwise."""
        return f"{slug(self.table)}.{slug(self.line)}.s{self.seed}.{digest(str(self.asked))[:6]}"


@dataclass(frozen=True)
class Study:
    """The runs in the order in which they are to be done."""

    name: str
    about: str
    runs: Sequence[Run]

    def with_options(self, options: Mapping[str, Any]) -> "Study":
        """Every run with other options, to try something small: these are other runs, with other names."""
        return replace(self, runs=[replace(run, options={**run.options, **options}) for run in self.runs])


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower().replace(",", "")).strip("-.")


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(studies.__path__) if module.name not in OURS)


def load(name: str) -> Study:
    """The study of that name, or the one in a file elsewhere."""
    module = _module(name)
    study = Study(Path(name).stem, _first(module), module.runs())
    twice = [run for run, times in Counter(run.name for run in study.runs).items() if times > 1]
    if twice:
        raise UsageError(
            f"study {study.name}: {twice[0]} stands in it twice; give each run another table, line or seed"
        )
    return study


def about(name: str) -> str:
    return _first(_module(name))


def _module(name: str) -> ModuleType:
    if not name.endswith(".py"):
        if name not in names():
            raise UsageError(unknown_name("study", name, names()))
        return importlib.import_module(f"studies.{name}")
    if not Path(name).is_file():
        raise UsageError(f"there is no file {name}; name a study of {', '.join(names())}, or a file of your own")
    spec = importlib.util.spec_from_file_location(Path(name).stem, name)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _first(module: ModuleType) -> str:
    """The first paragraph of what a study says of itself."""
    return " ".join((module.__doc__ or "").strip().split("\n\n")[0].split())
