"""How long, and how fast: pure functions of a training's own length."""

import math
from collections.abc import Sequence


def steps_for(images: float, batch_size: int) -> int:
    """Steps that show about so many images; at least one."""
    return max(1, round(images / batch_size))


def warmup_steps(warmup: float, images: float, batch_size: int) -> int:
    """Steps of warm-up: `warmup` is a share of the training, at most the paper's ten ImageNet epochs."""
    return round(min(warmup * images, 10 * IMAGENET) / batch_size)


def learning_rate(step: int, steps: int, *, peak: float, warmup: int, drops: Sequence[float] | None = None) -> float:
    """Linear from 0 over the warm-up, then a cosine to 0 over the rest; or, with `drops`, level but for falls to a tenth
    at these shares of the training."""
    if step < warmup:
        return peak * (step + 1) / warmup
    if drops is not None:
        return peak * 0.1 ** sum(step >= share * steps for share in drops)
    return peak * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2


IMAGENET = 1_281_167  # the images of one "epoch" in DnC's schedules, whatever the collection (section 4)
