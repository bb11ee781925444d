"""A first look at images of noise, before any work: does an encoder take images of this size, and what does it make of them?"""

import itertools
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..machine import OUT_OF_MEMORY
from .encoder import EncoderSpec, build
from .net import width

NEAR = 3  # sizes that are named when one will not do
STEPS = 8, 14  # sizes are tried in such steps: patches have 4, 8, 14, 16 or 32 pixels
LARGEST, TRIED = 512, 8  # pixels, and sizes on each side
LETTERS = 200  # of what a network says
Sizes = Callable[[int], Iterable[int]]  # of every image that the encoder is shown, where views have so many pixels


def failure(spec: EncoderSpec, size: int, sides: Iterable[int], device: str = "cpu") -> tuple[int, str] | None:
    """The first of the sides that an encoder for `size` does not take, and why; None if it takes them all. Nothing is left of
    it: torch's random numbers go on as if it had not been."""
    with torch.random.fork_rng(devices=[]), torch.device(device):
        encoder = build(spec, size)
        return next(((side, why) for side in sides if (why := _objection(encoder, side)) is not None), None)


def objection(encoder: nn.Module, side: int, *, training: bool = False) -> str | None:
    """What stands against images of this many pixels; None: nothing does. Only in training does it leave a trace, in batch
    norms."""
    was_training, images = encoder.training, 2 if training else 1
    try:
        with torch.no_grad():
            return _misshapen(encoder.train(training)(_noise(images, side, encoder)), images, width(encoder))
    except MemoryError:
        raise
    except Exception as error:  # a network's code meets sizes unchecked, and fails in any way
        if any(words in str(error).lower() for words in OUT_OF_MEMORY):
            raise
        return _in_short(error)
    finally:
        encoder.train(was_training)


def _objection(encoder: nn.Module, side: int) -> str | None:
    """The same in training, and afterwards."""
    return objection(encoder, side, training=True) or objection(encoder, side)


def _in_short(error: Exception) -> str:
    """What a network says, or else the line of it that would not do."""
    lines = [frame.line for frame in traceback.extract_tb(error.__traceback__) if frame.name != "_assert"]
    said = str(error).strip() or f"{type(error).__name__} at {lines[-1]}"
    return said.splitlines()[0][:LETTERS].rstrip(".")


def _noise(images: int, side: int, encoder: nn.Module) -> Tensor:
    """Where the encoder is."""
    of_its = next(itertools.chain(encoder.parameters(), encoder.buffers()), torch.empty(0))
    noise = torch.linspace(-1, 1, images * 3 * side * side, dtype=of_its.dtype, device=of_its.device).sin()
    return noise.view(images, 3, side, side)


def _misshapen(seen: object, images: int, features: int) -> str | None:
    if not isinstance(seen, Tensor):
        return f"it gives a {type(seen).__name__}, not a row of features for each image"
    if tuple(seen.shape) != (images, features):
        return f"it gives features of shape {list(seen.shape)}, not {[images, features]}"
    return None


def sizes_that_work(spec: EncoderSpec, size: int, sizes: Sizes, usual: int) -> list[int]:
    """Of the sizes nearest to one that does not work, those that do: the one below, the one above, and the `usual` one."""
    below, above = _first(spec, _steps(size, 0), sizes), _first(spec, _steps(size, LARGEST), sizes)
    return sorted({*below, *above, *([usual] if usual != size and takes(spec, usual, sizes) else [])})[:NEAR]


def _steps(size: int, end: int) -> Sequence[int]:
    """From a size up or down to an end, those that may be a whole number of patches, and at most so many."""
    way = range(size + 1, end + 1) if end > size else range(size - 1, max(end, 7), -1)
    return [side for side in way if any(side % step == 0 for step in STEPS)][:TRIED]


def _first(spec: EncoderSpec, sides: Sequence[int], sizes: Sizes) -> list[int]:
    return next(([side] for side in sides if takes(spec, side, sizes)), [])


def takes(spec: EncoderSpec, size: int, sizes: Sizes) -> bool:
    """By shapes alone, without room for numbers."""
    try:
        return failure(replace(spec, init="random"), size, sizes(size), "meta") is None
    except Exception:  # it can't even be built for this size
        return False
