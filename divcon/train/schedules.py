"""The number of steps of a training, and its learning rate at each step: pure functions of the training's length."""

import math
from collections.abc import Sequence

IMAGENET = 1_281_167  # images of ImageNet: one "epoch" of DnC's schedules, whatever the collection (DnC section 4)


def steps_for(images: float, batch_size: int) -> int:
    """Return the number of steps, at least 1, that show about so many images."""
    return max(1, round(images / batch_size))


def cycle_at(step: int, steps: int, cycles: int) -> tuple[int, int]:
    """Return the step at which the cycle of a step begins, and the number of the cycle's steps.

    The training is divided into equal cycles, whose lengths differ by at most one step. No cycle is shorter than a step.
    """
    cycles = min(cycles, steps)
    number = ((step + 1) * cycles - 1) // steps
    begin, end = number * steps // cycles, (number + 1) * steps // cycles
    return begin, end - begin


def warmup_steps(warmup: float, images: float, batch_size: int) -> int:
    """Return the steps of warm-up: the share `warmup` of the training, at most the paper's ten ImageNet epochs."""
    return round(min(warmup * images, 10 * IMAGENET) / batch_size)


def learning_rate(step: int, steps: int, *, peak: float, warmup: int, drops: Sequence[float] | None = None) -> float:
    """Return the learning rate of a step.

    It rises linearly from 0 to `peak` over the `warmup` steps, and falls to 0 by a cosine over the other steps. With
    `drops` it is constant instead, and falls to a tenth at each of these shares of the training.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    if drops is not None:
        return peak * 0.1 ** sum(step >= share * steps for share in drops)
    return peak * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2
