"""What stages make, and how anything gets onto a disk: whole or not at all."""

import contextlib
import errno
import hashlib
import json
import os
import platform
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, Self, TypeVar

from . import faults
from .errors import DamagedError, DiskError, InputError

if TYPE_CHECKING:
    import torch

Named = TypeVar("Named", bound=str | Path)
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
UNWRITABLE = FULL | {
    errno.EACCES, errno.EPERM, errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG,
}  # fmt: skip
UNSYNCED = {errno.EINVAL, errno.ENOTSUP}  # of file systems that keep their folders in order by themselves
SEALED = re.compile(rb'\{\n "seal": "([0-9a-f]{64})"(.*)', re.DOTALL)


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
        room = "What was finished is kept; make room, then type the same command again"
        way = room if error.errno in FULL - {errno.EROFS} else "Look at it with `ls -ld`"
        raise DiskError(
            f"can't write {show(path)}: {error.strerror}. {way}, or name another place (out=, cache=)"
        ) from error


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Write to the path given, and it becomes `path` at the end: durable, and never seen half-written."""
    part = passing(path)
    with disk(path):
        try:
            make_folder(path.parent)
            for left in orphans(path):
                left.unlink(missing_ok=True)
            faults.at("file.begun")
            yield part
            faults.at("file.written")
            sync(part)
            faults.at("file.synced")
            part.replace(path)
            faults.at("file.renamed")
            sync(path.parent)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def passing(path: Path, pid: int | None = None) -> Path:
    """What a file or folder is called while a process (this one) writes it."""
    return path.with_name(f"{path.name}.{platform.node()}.{pid or os.getpid()}.part")


def orphans(path: Path) -> Iterator[Path]:
    """What processes of this machine that are gone had begun to write for a path."""
    name = re.compile(re.escape(f"{path.name}.{platform.node()}.") + r"(\d{1,9})\.part")
    for left in sorted(path.parent.iterdir()):
        match = name.fullmatch(left.name)
        if match and not runs(int(match[1])):
            yield left


def runs(pid: int) -> bool:
    """Whether a process of this machine has that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def make_folder(folder: Path) -> None:
    """The folder and those above it, with their names on the disk."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync(path.parent)


def write_text(path: Path, text: str) -> None:
    with whole(path) as part:
        part.write_text(text)


def write_json(path: Path, value: Any) -> None:
    """Rows as they are; an object under a seal, its first key: the SHA-256 of all that follows."""
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    write_text(path, sealed(text) if isinstance(value, dict) else text)


def sealed(text: str) -> str:
    """The text of a JSON object with the seal put into it."""
    rest = f"{'' if text.strip() == '{}' else ','}{text[1:]}"
    return f'{{\n "seal": "{hashlib.sha256(rest.encode()).hexdigest()}"{rest}'


def unsealed(data: bytes) -> Any:
    """What was sealed; ValueError says how it differs from what was written."""
    match = SEALED.fullmatch(data)
    if match is None:
        raise ValueError("no seal where it should begin with one: another program, or an older divcon, wrote it")
    found = hashlib.sha256(match[2]).hexdigest()
    if found != match[1].decode():
        raise ValueError(differs(match[1].decode(), found))
    return {key: value for key, value in json.loads(data).items() if key != "seal"}


def read(path: Path) -> bytes:
    """All of a file. ValueError, at once, where something else has taken its place."""
    if not stat.S_ISREG(path.stat().st_mode):  # a device may do something when it is opened
        raise ValueError("no file")
    with opened(path) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("no file")
        return file.read()


def opened(path: Path | bytes) -> IO[bytes]:
    """To be read, without waiting for what may have taken the place of a file: a FIFO has no end, or not even a
    beginning."""
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")


def erase(path: Path) -> None:
    """Remove what has that name, whatever it is, and nothing that a link leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def end(path: Path) -> None:
    """Put the SHA-256 of a file of ours behind it, in 32 bytes."""
    with path.open("ab") as file:
        file.write(bytes.fromhex(sha256(path)))


def read_ended(path: Path) -> bytes:
    """What stands before such an end. DamagedError if the two do not agree."""
    try:
        data = read(path)
    except ValueError as error:
        raise DamagedError(f"{show(path)} is damaged ({error})") from error
    if len(data) < 32:
        raise DamagedError(f"{show(path)} is damaged (no seal at its end: it has {len(data)} bytes)")
    expected, found = data[-32:].hex(), hashlib.sha256(data[:-32]).hexdigest()
    if found != expected:
        raise DamagedError(f"{show(path)} is damaged ({differs(expected, found)})")
    return data[:-32]


def differs(expected: str, found: str) -> str:
    return f"expected sha256 {expected[:12]}, found {found[:12]}"


def write_tensors(path: Path, tensors: "Mapping[str, torch.Tensor]") -> None:
    """A safetensors file, written like any other: a full disk is an OSError, and who may read it is the user's choice."""
    from safetensors.torch import save

    path.write_bytes(save(_apart({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})))


def _apart(tensors: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """Each in memory of its own: modules that a network has in two places share theirs, which safetensors refuses."""
    taken: set[int] = set()
    parts = {}
    for name, tensor in tensors.items():
        at = tensor.untyped_storage().data_ptr()
        parts[name] = tensor.clone() if at in taken else tensor
        taken.add(at)
    return parts


def read_json(path: Path) -> Any:
    """What write_json wrote. DamagedError says what is not as it was written."""
    try:
        data = read(path)
        return json.loads(data) if data.startswith(b"[") else unsealed(data)
    except (ValueError, RecursionError) as error:
        raise DamagedError(
            f"{show(path)} is damaged ({error}); put back a copy, or remove its folder to do it anew"
        ) from error


def damage(manifest: Path) -> list[str]:
    """How files differ from the hashes that a manifest beside or above them gives: each named, expected and found."""
    try:
        hashes = dict(read_json(manifest)["sha256"])
    except (OSError, DamagedError, KeyError, TypeError, ValueError) as error:
        return [str(error) if isinstance(error, DamagedError) else f"{show(manifest)} can't be read: {error!r}"]
    wrong = []
    for name, expected in hashes.items():
        found = _found(manifest.parent, Path(str(name)))
        if found != expected:
            wrong.append(f"{show(manifest.parent / str(name))}: {differs(str(expected), found)}")
    return wrong


def _found(folder: Path, name: Path) -> str:
    """The hash of a file that a manifest names; it may be a stranger's, and name anything."""
    try:
        inside = not name.is_absolute() and ".." not in name.parts
        return sha256(folder / name) if inside and (folder / name).is_file() else "no file"
    except (OSError, ValueError):
        return "no file"


def remove(folder: Path, first: str) -> None:
    """The folder, beginning with the file that says it is whole: at no moment does a part of it pass for all of it."""
    erase(folder / first)
    with contextlib.suppress(FileNotFoundError):
        sync(folder)
        shutil.rmtree(folder)


def sync(path: Path) -> None:
    """Past this line a power cut takes nothing of the file, or of the folder's list of names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in UNSYNCED:
            raise
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(text: str) -> str:
    """A short name for a long text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def meant(typed: Named) -> Named:
    """The path that is meant: `~` is home, as a shell has it, and `./~` is a name like any other. InputError where there is
    no such home."""
    text = str(typed)
    if not text.startswith("~"):
        return type(typed)(Path(text).absolute()) if str(Path(text)).startswith("~") else typed
    found = os.path.expanduser(text)  # noqa: PTH111 - pathlib's forgets that ./~ is another path
    if found.startswith("~"):
        raise InputError(f"{show(text)}: there is no such home; a folder that is called so is ./{show(text)}")
    return type(typed)(found)


def refuse_unwritable(path: Path) -> None:
    """DiskError, before any work, where a file can't be put in this place."""
    above = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
    number = errno.EISDIR if path.is_dir() else errno.ENOTDIR if not above.is_dir() else 0
    if not number and not os.access(above, os.W_OK | os.X_OK):
        number = errno.EROFS if os.statvfs(above).f_flag & os.ST_RDONLY else errno.EACCES
    if number:
        with disk(path):
            raise OSError(number, os.strerror(number))


def cache_folder(asked: str | Path | None = None) -> Path:
    """Where indexes, pixels and compiled code live, shared by runs: cache=, else DIVCON_CACHE, else ~/.cache/divcon."""
    try:
        folder = Path(meant(asked or os.environ.get("DIVCON_CACHE") or "~/.cache/divcon")).absolute()
    except InputError as error:
        raise InputError(f"{error}; name a folder by cache=, or in DIVCON_CACHE") from error
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"the cache {show(folder)} is no folder; name a folder by cache=, or in DIVCON_CACHE")
    return folder


def show(path: Path | str | bytes) -> str:
    """A path that is safe to show: control characters and bytes that are not UTF-8 escaped."""
    text = path if isinstance(path, str) else os.fsdecode(path)
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(c: str) -> str:
    """A character as text; one that stands for a byte of a name that is not UTF-8, as that byte."""
    return f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else c.encode("unicode_escape").decode()
