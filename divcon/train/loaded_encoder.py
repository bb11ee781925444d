"""A trained encoder for use in other programs, with the preprocessing that it was trained with."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from .. import host_settings
from ..data.decoding.decode import decode_any, decode_shrunk
from ..data.decoding.rejection import Rejected
from ..data.pixels.packed import PackedImages
from ..data.views.presets import center
from ..data.views.render import views_of
from ..errors import InputError, UsageError
from ..files.text import printable
from ..machine import available_cores, check_device
from ..nets.net import width
from ..nets.trained import InputSpec
from ..nets.whitening import Whitening
from .encode import normalized
from .pictures import Picture, each_picture, encoded, is_picture, name_of

FIRST = np.zeros(1, np.int64)  # the position of the only image
Pictures = Picture | Iterable[Picture]


@dataclass(frozen=True)
class Preprocess:
    """Turns an image into the input of a network: its center view, normalized, as `divcon embed` does.

    It can be pickled, and so passed to a data loader.
    """

    input_spec: InputSpec

    def __call__(self, image: Picture) -> Float[Tensor, "3 size size"]:
        """Return the normalized center view of an image.

        `image` is a path, the bytes of a file, a file opened for reading bytes, an image of Pillow, an array of uint8: [h, w] (gray), [h, w, 3] (RGB)
        or [h, w, 4] (RGBA), or a tensor [c, h, w] of uint8, or of floating point numbers in 0..1. For a path or bytes the
        pixels are those of `divcon embed`, bit for bit. Raises InputError for a file that `divcon embed` rejects, UsageError for
        anything that is no image. A picture of one color all over is taken, where a collection rejects it.
        """
        return normalized(self.view(image)[None], self.input_spec)[0]

    def view(self, image: Picture) -> UInt8[np.ndarray, "size size 3"]:
        """Return the center view before it is normalized."""
        try:
            with host_settings.pillow_defaults():
                data = encoded(image)
                decode_any(data)  # raises Rejected for a file that is damaged or not complete
                picture = decode_shrunk(data, self.input_spec.short_side)
        except Rejected as error:
            raise InputError(
                f"{name_of(image)} can't be shown to a network ({printable(str(error))}); repair the picture or leave it out"
            ) from error
        view: NDArray[np.uint8] = views_of(
            center(self.input_spec.size), PackedImages.from_arrays([picture]), FIRST, (), FIRST
        )[0]
        return view


class Encoder(nn.Module):
    """Turns normalized images into features [B, num_features]; `preprocess` turns an image into a normalized one, and `embed`
    does both for any number of images.

    The names of its weights are those of `encoder`, the network of timm or of nets/slim.py. `whitening` is the last layer, or
    None for raw features; it is no weight.
    """

    def __init__(self, encoder: nn.Module, input_spec: InputSpec, whitening: Whitening | None = None):
        super().__init__()
        self.encoder = encoder
        self.whitening = None if whitening is None else whitening.layer(width(encoder))
        self.num_features = width(encoder)
        self.preprocess = Preprocess(input_spec)
        untyped: Any = self  # torch gives these two functions no types
        untyped.register_state_dict_post_hook(_remove_prefix)
        untyped.register_load_state_dict_pre_hook(_add_prefix)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        features: Tensor = self.encoder(images)
        return features if self.whitening is None else self.whitening(features)

    @torch.no_grad()
    def embed(
        self,
        images: Pictures,
        *,
        batch_size: int = 64,
        device: str | torch.device | None = None,
        workers: int | None = None,
    ) -> Float[Tensor, "n d"]:
        """Return the features of pictures, in their order, in float32 on the CPU: those of `divcon embed` but for rounding.

        `images` is one picture, a batch of arrays [n, h, w, c] or tensors [n, c, h, w], or an iterable of any of these, which
        may be a generator; `Preprocess` says what a picture is. The network computes in eval mode and in the type of its
        weights, where `divcon embed` may choose bfloat16. With `device` it is moved there. `workers` threads read and decode.
        An error names the first picture that was refused, by its number from 0 on; no features are returned then.
        """
        if batch_size < 1:
            raise UsageError(f"batch_size={batch_size}: it is at least 1")
        if device is not None:
            check_device(device, "leave device out to compute where the encoder is")
            self.to(device)
        view = self._only_view if is_picture(images) else self._numbered_view
        pictures = enumerate(each_picture(images))
        with _eval_mode(self), ThreadPoolExecutor(workers or available_cores()) as threads:
            parts = [torch.zeros(0, self.num_features, dtype=torch.float32)]
            while batch := list(itertools.islice(pictures, batch_size)):
                parts.append(self._features(np.stack([*threads.map(view, batch)])))
        return torch.cat(parts)

    def _only_view(self, numbered: tuple[int, Picture]) -> UInt8[np.ndarray, "size size 3"]:
        return self.preprocess.view(numbered[1])

    def _numbered_view(self, numbered: tuple[int, Picture]) -> UInt8[np.ndarray, "size size 3"]:
        """Return the view of a picture; an error says which of the pictures it is."""
        number, image = numbered
        try:
            return self.preprocess.view(image)
        except (InputError, UsageError) as error:
            raise type(error)(f"picture {number} (the first one is 0): {error}") from error

    def _features(self, views: UInt8[np.ndarray, "b size size 3"]) -> Float[Tensor, "b d"]:
        weight = next(self.parameters())
        x = normalized(views, self.preprocess.input_spec, str(weight.device)).to(weight.dtype)
        return self(x).float().cpu()  # type: ignore[no-any-return]


@contextlib.contextmanager
def _eval_mode(module: nn.Module) -> Iterator[None]:
    """Put a module into eval mode while the block runs; each part returns to its own mode."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _remove_prefix(module: nn.Module, state: dict[str, Tensor], prefix: str, metadata: object) -> None:
    """Remove the "encoder." that torch puts before the names of a submodule."""
    inner = f"{prefix}encoder."
    for name in [name for name in state if name.startswith(inner)]:
        state[prefix + name.removeprefix(inner)] = state.pop(name)


def _add_prefix(module: nn.Module, state: dict[str, Tensor], prefix: str, *rest: object) -> None:
    for name in [name for name in state if name.startswith(prefix)]:
        state[f"{prefix}encoder.{name.removeprefix(prefix)}"] = state.pop(name)
