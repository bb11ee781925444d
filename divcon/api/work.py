"""The work of the stages of a run, as planned: in images that a training shows."""

from collections.abc import Callable, Sequence

from ..runs.pace import PlanWork, Work
from ..runs.recorder import PLANS, PlannedStage
from ..stages.learning import TrainingPlan
from ..train.schedules import steps_for

# To encode an image is a forward pass of one view. A training shows two views, and its backward pass costs two forward passes.
ENCODED = 1 / 6


def images_shown(plan: TrainingPlan) -> int:
    """Return the number of images that a training shows, repetitions included."""
    recipe = plan.recipe
    return steps_for(recipe.samples_seen, recipe.batch_size) * int(recipe.batch_size)


def planned_work(stages: Sequence[PlannedStage], n: int) -> dict[str, Work]:
    """Return the work of each stage of a run on n images."""
    return {stage.name: _work(stage.training, n) for stage in stages}


def plan_work_of(n: int) -> PlanWork:
    """Return a function that plans the work of a stage of a run on n images."""

    def plan_work(do: Callable[..., object], args: tuple[object, ...]) -> Work:
        return _work(PLANS[do](*args).training, n)

    return plan_work


def _work(training: object, n: int) -> Work:
    """The work of a training, or of a stage that trains nothing: it encodes the collection about once."""
    if isinstance(training, TrainingPlan):
        return Work(images_shown(training), type(training.recipe).__name__)
    return Work(n * ENCODED, "encode")
