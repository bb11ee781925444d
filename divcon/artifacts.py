"""What stages make, and how anything gets onto a disk: whole or not at all."""

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from .errors import DamagedError, DiskError

if TYPE_CHECKING:
    import torch

UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


class Artifact(Protocol):
    """What a stage returns: it can be put in a folder and read back, and its fingerprint tells it from others."""

    @property
    def fingerprint(self) -> str: ...

    def save(self, folder: Path) -> None: ...

    @classmethod
    def load(cls, folder: Path) -> Self: ...


@contextlib.contextmanager
def disk(path: Path) -> Iterator[None]:
    """Say it in the user's words when there is no room to write at path."""
    try:
        yield
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise DiskError(
            f"can't write {show(path)}: {error.strerror}. What was finished is kept; make room, then type the same command again, or name another place (out=, cache=)"
        ) from error


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Write to the path given, and it becomes `path` at the end: durable, and never seen half-written."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with disk(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield part
            sync(part)
            part.replace(path)
            sync(path.parent)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def write_text(path: Path, text: str) -> None:
    with whole(path) as part:
        part.write_text(text)


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_tensors(path: Path, tensors: "Mapping[str, torch.Tensor]") -> None:
    """A safetensors file, written like any other: a full disk is an OSError, and who may read it is the user's choice."""
    from safetensors.torch import save

    path.write_bytes(save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}))


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise DamagedError(
            f"{show(path)} is damaged ({error}); put back a copy, or remove its folder to do it anew"
        ) from error


def sync(path: Path) -> None:
    """Past this line a power cut takes nothing of the file, or of the folder's list of names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(text: str) -> str:
    """A short name for a long text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def cache_folder(asked: str | Path | None = None) -> Path:
    """Where indexes, pixels and compiled code live, shared by runs: cache=, else DIVCON_CACHE, else ~/.cache/divcon."""
    return Path(asked or os.environ.get("DIVCON_CACHE") or "~/.cache/divcon").expanduser().absolute()


def show(path: Path | str | bytes) -> str:
    """A path that is safe to show: control characters and bytes that are not UTF-8 escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
