"""Options that were left open, derived from the collection and the machine."""

from dataclasses import replace
from typing import Any, cast

from ..errors import UsageError
from ..nets.encoder import SLIM
from .options import Options
from .registry import named


def settled(options: Options, n: int, device: str) -> tuple[Options, list[str]]:
    """Return the options for n images with nothing left open, and a reason for each choice."""
    if options.epochs is not None and options.imagenet_epochs is not None:
        raise UsageError("epochs= and imagenet_epochs= are two counts of the same budget; type one of them")
    defaults: dict[str, Any] = {
        name: value for name, value in named(options.recipe).defaults.items() if getattr(options, name) is None
    }
    chosen = replace(options, **defaults)
    reasons = [f"{name} {value}: {options.recipe}'s" for name, value in defaults.items()]
    where = "a GPU" if device != "cpu" else "a CPU"
    if chosen.encoder is None:
        chosen = replace(chosen, encoder="resnet50" if device != "cpu" else "slim10")
        reasons.append(f"encoder {chosen.encoder}: for {where}")
    if chosen.size is None:
        chosen = replace(chosen, size=32 if chosen.encoder in SLIM else 224 if device != "cpu" else 64)
        reasons.append(f"size {chosen.size}: for {chosen.encoder} on {where}")
    if chosen.batch_size is None:
        chosen = replace(chosen, batch_size=batch_for(n))
        reasons.append(f"batch {chosen.batch_size}: {n:,} images / {n / batch_for(n):.0f}")
    if chosen.views is None:
        chosen = replace(chosen, views="mild" if cast(int, chosen.size) < 96 else "byol")
        reasons.append(f"views {chosen.views}: for {chosen.size} pixels")
    notice = named(options.recipe).notice(chosen, n)
    return chosen, [*reasons, *([notice] if notice else [])]


def batch_for(n: int) -> int:
    """The batch size for n images: the largest power of two that gives 96 steps in an epoch, from 16 to 256.

    Few images need many steps.
    """
    return max(16, min(256, 1 << max(0, (n // 96).bit_length() - 1)))
