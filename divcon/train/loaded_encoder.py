"""A trained encoder for use in other programs, with the preprocessing that it was trained with."""

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
PNG_MODES = {"1", "L", "LA", "I;16", "P", "RGB", "RGBA"}  # modes that PNG stores without loss; TIFF stores the others
FIRST = np.zeros(1, np.int64)  # the position of the only image


@dataclass(frozen=True)
class Preprocess:
    """Turns an image into the input of a network: its center view, normalized, as `divcon embed` does.

    It can be pickled, and so passed to a data loader.
    """

    input_spec: InputSpec

    def __call__(self, image: Picture) -> Float[Tensor, "3 size size"]:
        """Return the normalized center view of an image.

        `image` is a path, the bytes of a file, an image of Pillow, or an array of uint8: [h, w] (gray), [h, w, 3] (RGB)
        or [h, w, 4] (RGBA). For a path or bytes the pixels are those of `embed`, bit for bit. Raises InputError for a
        file that `embed` rejects, UsageError for anything that is no image.
        """
        return normalized(self.view(image)[None], self.input_spec)[0]

    def view(self, image: Picture) -> UInt8[np.ndarray, "size size 3"]:
        """Return the center view before it is normalized."""
        try:
            with host_settings.pillow_defaults():
                data = _encoded(image)
                decode(data)  # raises Rejected for a file that is damaged or not complete
                picture = decode_shrunk(data, self.input_spec.short_side)
        except Rejected as error:
            raise InputError(f"{_named(image)} can't be shown to a network ({printable(str(error))})") from error
        view: NDArray[np.uint8] = views_of(
            center(self.input_spec.size), PackedImages.from_arrays([picture]), FIRST, (), FIRST
        )[0]
        return view


class Encoder(nn.Module):
    """Turns normalized images into features [B, num_features]; `preprocess` turns an image into a normalized one.

    The names of its weights are those of `encoder`, the network of timm or of nets/slim.py.
    """

    def __init__(self, encoder: nn.Module, input_spec: InputSpec):
        super().__init__()
        self.encoder = encoder
        self.num_features = width(encoder)
        self.preprocess = Preprocess(input_spec)
        untyped: Any = self  # torch gives these two functions no types
        untyped.register_state_dict_post_hook(_remove_prefix)
        untyped.register_load_state_dict_pre_hook(_add_prefix)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        features: Tensor = self.encoder(images)
        return features


def _remove_prefix(module: nn.Module, state: dict[str, Tensor], prefix: str, metadata: object) -> None:
    """Remove the "encoder." that torch puts before the names of a submodule."""
    inner = f"{prefix}encoder."
    for name in [name for name in state if name.startswith(inner)]:
        state[prefix + name.removeprefix(inner)] = state.pop(name)


def _add_prefix(module: nn.Module, state: dict[str, Tensor], prefix: str, *rest: object) -> None:
    for name in [name for name in state if name.startswith(prefix)]:
        state[f"{prefix}encoder.{name.removeprefix(prefix)}"] = state.pop(name)


def _encoded(image: Picture) -> bytes:
    """Return the bytes of a file with the image."""
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
        f"an image must be a path, the bytes of a file, an image of Pillow, or an array of uint8 [h, w], [h, w, 3] or "
        f"[h, w, 4]; not {_named(image)}"
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{printable(path)} can't be read ({error.strerror}); look at it with `ls -ld`") from error


def _saved(image: Image.Image) -> bytes:
    """Save an image of Pillow without loss, its EXIF orientation included, and return the bytes."""
    file = io.BytesIO()
    format = "PNG" if image.mode in PNG_MODES else "TIFF"
    try:
        image.save(file, format, exif=image.getexif(), compress_level=1)  # PNG's; TIFF ignores it
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"an image of mode {image.mode} can't be encoded ({printable(str(error))}); give image.convert('RGB')"
        ) from error
    return file.getvalue()


def _named(image: object) -> str:
    """Return a name for error messages: the path itself, or the type of any other object."""
    if isinstance(image, str | os.PathLike):
        return printable(os.fspath(image))
    if isinstance(image, np.ndarray):
        return f"an array of {image.dtype} {list(image.shape)}"
    return f"an object of {type(image).__name__}"
