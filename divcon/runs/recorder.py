"""Walk a pipeline without doing anything, to find its stages and what each would make and cost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from ..machine import Machine
from .stage import A, Result
from .stage_key import made_by

D = TypeVar("D", bound=Callable[..., Result[Any]])


@dataclass(frozen=True)
class Plan(Generic[A]):
    """The result that a stage would have. `artifact` stands for the one that it would make: of the right type, without the data.
    `training` describes the training, in a stage that is one, and `encoding` what another stage encodes."""

    artifact: A
    training: object = None
    encoding: object = None


@dataclass(frozen=True)
class PlannedStage:
    """A stage of a pipeline; `group` is the name that it shares with others (`experts`), or its own."""

    name: str
    group: str
    training: object
    encoding: object = None


PLANS: dict[Callable[..., Any], Callable[..., Plan[Any]]] = {}


def planned_by(plan: Callable[..., Plan[Any]]) -> Callable[[D], D]:
    """Say how a stage is planned: `plan` takes the arguments of the stage without its context."""

    def register(do: D) -> D:
        PLANS[do] = plan
        return do

    return register


@dataclass
class Recorder:
    """Stands for a Run while its pipeline is planned: the same two methods, and nothing is done.

    `taken` stages come from the folders of other runs; their artifacts are read.
    """

    machine: Machine
    cache: Path
    taken: Mapping[str, Path] = field(default_factory=dict)
    planned: list[PlannedStage] = field(default_factory=list)

    def stage(self, name: str, do: Callable[..., Result[A]], *args: Any, **kwargs: Any) -> A:
        """Note the stage; return what stands for its artifact."""
        plan: Plan[A] = PLANS[do](*args, **kwargs)
        self.planned.append(PlannedStage(name, name.split("/")[0], plan.training, plan.encoding))
        return made_by(do).load(self.taken[name]) if name in self.taken else plan.artifact

    def stages(self, name: str, do: Callable[..., Result[A]], each: Sequence[tuple[Any, ...]]) -> list[A]:
        return [self.stage(f"{name}/{i}", do, *args) for i, args in enumerate(each)]
