"""Trials of an encoder on images of noise, before any training: does it take images of this size and give features?"""

import itertools
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..machine import OUT_OF_MEMORY
from .encoder import EncoderSpec, build
from .net import width

SUGGESTIONS = 3  # sizes in an error message, at most
PATCH_SIZES = 8, 14  # pixels: a suggested size is a multiple of one of them, because most patches are
MIN_SIZE, MAX_SIZE = 8, 512  # pixels of a suggested size
TRIALS = 8  # sizes that are tried in each direction
MESSAGE_LENGTH = 200  # characters of a network's own error message
Sizes = Callable[[int], Iterable[int]]  # from the size of a view to the sizes of all images that the encoder gets


def first_size_error(spec: EncoderSpec, size: int, sides: Iterable[int], device: str = "cpu") -> tuple[int, str] | None:
    """Return the first of the sides (pixels) that an encoder for `size` does not take, and the reason, or None.

    torch's random numbers go on as if nothing had been built.
    """
    with torch.random.fork_rng(devices=[]), torch.device(device):
        encoder = build(spec, size)
        return next(((side, why) for side in sides if (why := _size_error_in_both_modes(encoder, side))), None)


def size_error(encoder: nn.Module, side: int, *, training: bool = False) -> str | None:
    """Return the reason why the encoder does not take images of `side` pixels, or None if it does.

    In training mode the trial changes the statistics of batch norms. The mode itself is restored.
    """
    was_training, images = encoder.training, 2 if training else 1
    try:
        with torch.no_grad():
            return _shape_error(encoder.train(training)(_noise(images, side, encoder)), images, width(encoder))
    except MemoryError:
        raise
    except Exception as error:  # the code of a network does not check sizes, and fails with any exception
        if any(words in str(error).lower() for words in OUT_OF_MEMORY):
            raise
        return _short_message(error)
    finally:
        encoder.train(was_training)


def _size_error_in_both_modes(encoder: nn.Module, side: int) -> str | None:
    return size_error(encoder, side, training=True) or size_error(encoder, side)


def _short_message(error: Exception) -> str:
    """Return the first line of the error, or, if it has no text, the line of code that raised it."""
    lines = [frame.line for frame in traceback.extract_tb(error.__traceback__) if frame.name != "_assert"]
    text = str(error).strip() or f"{type(error).__name__} at {lines[-1]}"
    return text.splitlines()[0][:MESSAGE_LENGTH].rstrip(".")


def _noise(images: int, side: int, encoder: nn.Module) -> Tensor:
    """Return images [images, 3, side, side] with the device and the dtype of the encoder."""
    weight = next(itertools.chain(encoder.parameters(), encoder.buffers()), torch.empty(0))
    noise = torch.linspace(-1, 1, images * 3 * side * side, dtype=weight.dtype, device=weight.device).sin()
    return noise.view(images, 3, side, side)


def _shape_error(output: object, images: int, features: int) -> str | None:
    if not isinstance(output, Tensor):
        return f"it gives a {type(output).__name__}, not a row of features for each image"
    if tuple(output.shape) != (images, features):
        return f"it gives features of shape {list(output.shape)}, not {[images, features]}"
    return None


def working_sizes(spec: EncoderSpec, size: int, sizes: Sizes, usual: int) -> list[int]:
    """Return sizes that the encoder takes: the next one below `size`, the next one above it, and the `usual` one."""
    below = _first_working(spec, _multiples(range(size - 1, MIN_SIZE - 1, -1)), sizes)
    above = _first_working(spec, _multiples(range(size + 1, MAX_SIZE + 1)), sizes)
    usual_one = [usual] if usual != size and accepts_size(spec, usual, sizes) else []
    return sorted({*below, *above, *usual_one})[:SUGGESTIONS]


def _multiples(sides: Iterable[int]) -> list[int]:
    """Return the first sides that are a multiple of a patch size."""
    return [side for side in sides if any(side % patch == 0 for patch in PATCH_SIZES)][:TRIALS]


def _first_working(spec: EncoderSpec, sides: Sequence[int], sizes: Sizes) -> list[int]:
    return next(([side] for side in sides if accepts_size(spec, side, sizes)), [])


def accepts_size(spec: EncoderSpec, size: int, sizes: Sizes) -> bool:
    """Return True if the encoder takes all images that views of `size` lead to. Only shapes are computed."""
    try:
        return first_size_error(replace(spec, init="random"), size, sizes(size), "meta") is None
    except Exception:  # it can't even be built for this size
        return False
