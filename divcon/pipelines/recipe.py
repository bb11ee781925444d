"""A pipeline is one file: a recipe (a frozen dataclass) and the function that does it, `name(run, images, recipe)`.

The function is the one description of the pipeline: a Run does its stages, a Recorder plans them (runs/recorder.py).
"""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, get_type_hints, runtime_checkable

from ..data.images import Images
from ..data.labeled.layout import Split
from ..machine import Machine
from ..nets.trained import Trained
from ..runs.recorder import PlannedStage, Recorder
from ..stages.factorize import Factorization
from ..stages.learning import NetworkTraining

T = TypeVar("T")


@runtime_checkable
class LabeledFolder(Protocol):
    """A part of a recipe that names a folder of labeled images."""

    @property
    def labels(self) -> str | None: ...

    @property
    def split(self) -> Split: ...


Training = NetworkTraining | Factorization


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The recipe of a pipeline: a field for each kind of stage, named as its options are typed. It has at least a base."""

    base: Any  # NetworkTraining or Factorization
    starts_from_base: ClassVar[tuple[str, ...]] = ()  # the trainings that may have start=base

    def parts(self, kind: type[T]) -> Iterator[tuple[str, T]]:
        """The fields that are of a kind, each with its name."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, kind):
                yield field.name, value

    def labeled_folders(self) -> list[LabeledFolder]:
        """The fields that name a folder of labeled images."""
        parts = (getattr(self, field.name) for field in fields(self))
        return [part for part in parts if isinstance(part, LabeledFolder)]

    def trainings(self) -> Iterator[tuple[str, Training]]:
        """The recipes of its trainings, each with its name."""
        yield from self.parts(NetworkTraining)
        yield from self.parts(Factorization)

    def check(self, base: Trained | None) -> None:
        """UsageError where one stage does not fit another; `base` is one that another run has trained."""

    def changed_by(self, typed: Mapping[str, object]) -> list[str]:
        """The options that came out differently than typed, each with the reason."""
        return []


Pipeline = Callable[[Any, Images, Any], Trained]


def pipeline_of(recipe: Recipe) -> Pipeline:
    """The function that does a recipe: the one in the recipe's own file that takes it."""
    functions = vars(sys.modules[type(recipe).__module__]).values()
    (found,) = (
        function
        for function in functions
        if inspect.isfunction(function) and get_type_hints(function).get("recipe") is type(recipe)
    )
    pipeline: Pipeline = found
    return pipeline


def stages_of(
    recipe: Recipe, images: Images, machine: Machine, cache: Path, taken: Mapping[str, Path]
) -> list[PlannedStage]:
    """The stages of a recipe for these images, in order, with what each would cost; nothing is done."""
    recorder = Recorder(machine, cache, taken)
    pipeline_of(recipe)(recorder, images, recipe)
    return recorder.planned
