"""A trained encoder for use in other programs, with the way in which pictures have to be shown to it."""

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from .. import host_settings
from ..data.decoding.decode import decode, decode_shrunk
from ..data.decoding.rejection import Rejected
from ..data.pixels.packed import PackedImages
from ..data.views.presets import center
from ..data.views.render import views_of
from ..errors import InputError, UsageError
from ..files.paths import expand_home
from ..files.text import printable
from ..nets.net import width
from ..nets.trained import InputSpec
from .encode import normalized

Picture = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | NDArray[np.uint8]
AS_PNG = {"1", "L", "LA", "I;16", "P", "RGB", "RGBA"}  # modes that it keeps as they are; TIFF keeps the others
ONE = np.zeros(1, np.int64)


@dataclass(frozen=True)
class Preprocess:
    """From a picture to what `divcon embed` shows of it: [3, size, size], normalized. It can be handed to a data loader."""

    input_spec: InputSpec

    def __call__(self, image: Picture) -> Float[Tensor, "3 size size"]:
        """The image is a path, the bytes of a file, one of Pillow's, or an array of uint8: [h, w] (gray), [h, w, 3] (RGB) or
        [h, w, 4] (RGBA). Of a path or bytes
        the pixels are those of `embed`, bit for bit, and a file that `embed` rejects is an InputError."""
        return normalized(self.view(image)[None], self.input_spec)[0]

    def view(self, image: Picture) -> UInt8[np.ndarray, "size size 3"]:
        """The same before it is normalized: [size, size, 3]."""
        try:
            with host_settings.pillow_defaults():
                data = _encoded(image)
                decode(data)  # looks for what is missing
                picture = decode_shrunk(data, self.input_spec.short_side)
        except Rejected as error:
            raise InputError(f"{_named(image)} can't be shown to a network ({printable(str(error))})") from error
        view: NDArray[np.uint8] = views_of(
            center(self.input_spec.size), PackedImages.from_arrays([picture]), ONE, (), ONE
        )[0]
        return view


class Encoder(nn.Module):
    """Normalized images [B, 3, H, W] -> features [B, num_features]; `preprocess` makes such an image of a picture.

    Its weights have the names that they have in `encoder`, the network itself: one of timm's, or a slim one.
    """

    def __init__(self, encoder: nn.Module, input_spec: InputSpec):
        super().__init__()
        self.encoder = encoder
        self.num_features = width(encoder)
        self.preprocess = Preprocess(input_spec)
        untyped: Any = self
        untyped.register_state_dict_post_hook(_unprefixed)
        untyped.register_load_state_dict_pre_hook(_prefixed)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        features: Tensor = self.encoder(images)
        return features


def _unprefixed(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """The names without the "encoder." that a module within a module gets."""
    inner = f"{prefix}encoder."
    for name in [name for name in state if name.startswith(inner)]:
        state[prefix + name.removeprefix(inner)] = state.pop(name)


def _prefixed(module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    for name in [name for name in state if name.startswith(prefix)]:
        state[f"{prefix}encoder.{name.removeprefix(prefix)}"] = state.pop(name)


def _encoded(image: Picture) -> bytes:
    """A picture as a file of it."""
    match image:
        case bytes() | bytearray() | memoryview():
            return bytes(image)
        case str() | os.PathLike():
            return _read(expand_home(Path(image)))
        case Image.Image():
            return _saved(image)
        case np.ndarray() if image.dtype == np.uint8 and (image.ndim == 2 or image.shape[2:] in ((3,), (4,))):
            return _saved(Image.fromarray(image))
    raise UsageError(
        f"an image is a path, the bytes of a file, an image of Pillow's, or an array of uint8 [h, w], [h, w, 3] or "
        f"[h, w, 4]; not {_named(image)}"
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{printable(path)} can't be read ({error.strerror}); look at it with `ls -ld`") from error


def _saved(image: Image.Image) -> bytes:
    """One of Pillow's as a file that loses nothing of it, its note on how to turn it included."""
    file = io.BytesIO()
    kind: dict[str, Any] = {"format": "PNG", "compress_level": 1} if image.mode in AS_PNG else {"format": "TIFF"}
    try:
        image.save(file, exif=image.getexif(), **kind)
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"an image of mode {image.mode} can't be taken ({printable(str(error))}); give image.convert('RGB')"
        ) from error
    return file.getvalue()


def _named(image: object) -> str:
    """In an error: a path by its name, all else by what it is."""
    if isinstance(image, str | os.PathLike):
        return printable(os.fspath(image))
    if isinstance(image, np.ndarray):
        return f"an array of {image.dtype} {list(image.shape)}"
    return f"an object of {type(image).__name__}"
