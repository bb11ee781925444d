"""Pictures that a program holds: paths, bytes of files, open files, images of Pillow, arrays and tensors, one or many."""

import io
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..errors import InputError, UsageError
from ..files.paths import ADDRESS, expand_home, shell_quoted
from ..files.text import printable

Picture = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | NDArray[np.uint8] | Tensor
PNG_MODES = {"1", "L", "LA", "I;16", "P", "RGB", "RGBA"}  # modes that PNG stores without loss; TIFF stores the others
CHANNELS = (1, 3, 4)  # gray, RGB, RGBA


def each_picture(images: Picture | Iterable[Picture]) -> Iterator[Picture]:
    """Yield each picture of one picture, a batch [n, h, w, c] or [n, c, h, w], or any iterable of these."""
    if is_picture(images):
        yield cast(Picture, images)
    elif isinstance(images, np.ndarray | Tensor) and images.ndim == 4:
        yield from images
    elif isinstance(images, np.ndarray) and images.dtype.kind in "OUS":  # an array of paths
        yield from each_picture(images.tolist())
    else:
        for image in cast(Iterable[Picture], images):
            yield from each_picture(image)


def is_picture(images: object) -> bool:
    """Return True for one object, which `encoded` takes or refuses; False for a batch or an iterable of several."""
    if isinstance(images, np.ndarray | Tensor):
        return images.ndim != 4 and not (isinstance(images, np.ndarray) and images.dtype.kind in "OUS")
    # the keys of a mapping would be taken for paths, and an open file is an iterable of lines
    if isinstance(images, str | os.PathLike | bytes | bytearray | memoryview | Image.Image | Mapping):
        return True
    return _is_file(images) or not isinstance(images, Iterable)


def encoded(image: Picture) -> bytes:
    """Return the bytes of a file with the picture. Raises UsageError for what is no picture, InputError for a file that
    can't be read."""
    match image:
        case bytes() | bytearray() | memoryview():
            return bytes(image)
        case str() | os.PathLike():
            _refuse_address(image)
            return _checked(expand_home(Path(image))).read_bytes()
        case Image.Image():
            return _saved(image)
        case Tensor():
            return encoded(_as_array(image))
        case np.ndarray() if image.dtype == np.uint8 and (image.ndim == 2 or image.shape[2:] in ((1,), (3,), (4,))):
            if image.size == 0:
                raise UsageError(f"{name_of(image)} is empty: a picture has at least one pixel")
            return _saved(Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image))
        case _ if _is_file(image):
            return _content(cast(IO[bytes], image))
    raise _no_picture(image)


def write_pictures(images: Picture | Iterable[Picture], folder: Path) -> Path:
    """Write pictures to a new folder, as links to the files of those that are paths, and return the folder."""
    folder.mkdir(parents=True)
    for i, image in enumerate(each_picture(images)):
        file = folder / f"{i:08}"
        if isinstance(image, str | os.PathLike):
            _refuse_address(image)
            file.symlink_to(_checked(expand_home(Path(image))).absolute())
        else:
            file.write_bytes(encoded(image))
    return folder


def name_of(image: object) -> str:
    """Return a name for error messages: the path itself, or the type of any other object, and its file if it has one."""
    if isinstance(image, str | os.PathLike):
        return printable(os.fspath(image))
    if isinstance(image, np.ndarray):
        return f"an array of {image.dtype} {list(image.shape)}"
    if isinstance(image, Tensor):
        return f"a tensor of {str(image.dtype).removeprefix('torch.')} {list(image.shape)}"
    if isinstance(image, Image.Image):
        return f"an image of Pillow ({image.mode}, {image.width} x {image.height}){_file_of(image, 'filename')}"
    return f"an object of {type(image).__name__}{_file_of(image, 'name')}"


def _file_of(image: object, attribute: str) -> str:
    name = getattr(image, attribute, None)
    return f" from {printable(name)}" if isinstance(name, str | bytes | Path) and name else ""


def _is_file(image: object) -> bool:
    return callable(getattr(image, "read", None))


def _content(file: IO[bytes]) -> bytes:
    """Read an open file from where it stands."""
    data: object = file.read()
    if not isinstance(data, bytes):
        raise UsageError(f"{name_of(file)} is open as text; open it by open(path, 'rb'), or give the path")
    return data


def _refuse_address(image: str | os.PathLike[str]) -> None:
    """Raise UsageError for an address of the internet: divcon reads none."""
    if ADDRESS.match(os.fspath(image)) and not Path(image).exists():
        raise UsageError(
            f"{name_of(image)} is an address, and addresses are not read; give the path of a file, or the bytes that you read "
            "from there"
        )


def _as_array(image: Tensor) -> NDArray[np.uint8]:
    """Return a tensor [c, h, w] as an array [h, w] or [h, w, c]; values in 0..1 are rounded to steps of 1/255."""
    if image.ndim != 3 or image.shape[0] not in CHANNELS:
        raise _no_picture(image)
    image = image.detach().cpu()
    if image.is_floating_point():
        if not bool(((image >= 0) & (image <= 1)).all()):  # false for NaN, too
            raise UsageError(
                f"{name_of(image)} has values outside of 0..1: a picture is not normalized yet; give normalized images to "
                "encoder(images)"
            )
        image = (image.float() * 255).round().to(torch.uint8)
    if image.dtype != torch.uint8:
        raise _no_picture(image)
    array: NDArray[np.uint8] = image.permute(1, 2, 0).contiguous().numpy()
    return array


def _no_picture(image: object) -> UsageError:
    return UsageError(
        "an image must be a path, the bytes of a file, a file opened by open(path, 'rb'), an image of Pillow, an array of uint8 [h, w], [h, w, 3] or [h, w, 4], "
        f"or a tensor [c, h, w] of uint8 or of 0..1; not {name_of(image)}"
    )


def _checked(path: Path) -> Path:
    """The path of a file; UsageError for a folder, InputError for what can't be opened."""
    if path.is_dir():
        raise UsageError(
            f"{printable(path)} is a folder; for all images below it type divcon.embed(MODEL, {shell_quoted(path)}, "
            "out='features.parquet'), or give a list of files"
        )
    try:
        path.open("rb").close()
    except OSError as error:
        raise InputError(f"{printable(path)} can't be read ({error.strerror}); look at it with `ls -ld`") from error
    return path


def _saved(image: Image.Image) -> bytes:
    """Save an image of Pillow without loss, its EXIF orientation included, and return the bytes."""
    file = io.BytesIO()
    format = "PNG" if image.mode in PNG_MODES else "TIFF"
    try:
        image.save(file, format, exif=image.getexif(), compress_level=1)  # PNG's; TIFF ignores it
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"{name_of(image)} can't be encoded ({printable(str(error))}); leave it out if its file is damaged, or give "
            "image.convert('RGB')"
        ) from error
    return file.getvalue()
