"""Hashes and seals: a file that was changed after it was written is noticed when it is read."""

import hashlib
import json
import os
import re
import stat
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..errors import DamagedError

if TYPE_CHECKING:
    pass
from .atomic import write_text
from .text import printable

SEALED = re.compile(rb'\{\n "seal": "([0-9a-f]{64})"(.*)', re.DOTALL)


def write_json(path: Path, value: Any) -> None:
    """Rows as they are; an object under a seal, its first key: the SHA-256 of all that follows."""
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    write_text(path, seal(text) if isinstance(value, dict) else text)


def seal(text: str) -> str:
    """The text of a JSON object with the seal put into it."""
    rest = f"{'' if text.strip() == '{}' else ','}{text[1:]}"
    return f'{{\n "seal": "{hashlib.sha256(rest.encode()).hexdigest()}"{rest}'


def unseal(data: bytes) -> Any:
    """What was sealed; ValueError says how it differs from what was written."""
    match = SEALED.fullmatch(data)
    if match is None:
        raise ValueError("no seal where it should begin with one: another program, or an older divcon, wrote it")
    found = hashlib.sha256(match[2]).hexdigest()
    if found != match[1].decode():
        raise ValueError(hash_difference(match[1].decode(), found))
    return {key: value for key, value in json.loads(data).items() if key != "seal"}


def read_regular(path: Path) -> bytes:
    """All of a file. ValueError, at once, where something else has taken its place."""
    if not stat.S_ISREG(path.stat().st_mode):  # a device may do something when it is opened
        raise ValueError("no file")
    with open_regular(path) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("no file")
        return file.read()


def open_regular(path: Path | bytes) -> IO[bytes]:
    """To be read, without waiting for what may have taken the place of a file: a FIFO has no end, or not even a
    beginning."""
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")


def append_digest(path: Path) -> None:
    """Put the SHA-256 of a file of ours behind it, in 32 bytes."""
    with path.open("ab") as file:
        file.write(bytes.fromhex(sha256(path)))


def read_with_digest(path: Path) -> bytes:
    """What stands before such an end. DamagedError if the two do not agree."""
    try:
        data = read_regular(path)
    except ValueError as error:
        raise DamagedError(f"{printable(path)} is damaged ({error})") from error
    if len(data) < 32:
        raise DamagedError(f"{printable(path)} is damaged (no seal at its end: it has {len(data)} bytes)")
    expected, found = data[-32:].hex(), hashlib.sha256(data[:-32]).hexdigest()
    if found != expected:
        raise DamagedError(f"{printable(path)} is damaged ({hash_difference(expected, found)})")
    return data[:-32]


def hash_difference(expected: str, found: str) -> str:
    return f"expected sha256 {expected[:12]}, found {found[:12]}"


def read_json(path: Path) -> Any:
    """What write_json wrote. DamagedError says what is not as it was written."""
    try:
        data = read_regular(path)
        return json.loads(data) if data.startswith(b"[") else unseal(data)
    except (ValueError, RecursionError) as error:
        raise DamagedError(
            f"{printable(path)} is damaged ({error}); put back a copy, or remove its folder to do it anew"
        ) from error


def mismatches(manifest: Path) -> list[str]:
    """How files differ from the hashes that a manifest beside or above them gives: each named, expected and found."""
    try:
        hashes = dict(read_json(manifest)["sha256"])
    except (OSError, DamagedError, KeyError, TypeError, ValueError) as error:
        return [str(error) if isinstance(error, DamagedError) else f"{printable(manifest)} can't be read: {error!r}"]
    wrong = []
    for name, expected in hashes.items():
        found = _hash_inside(manifest.parent, Path(str(name)))
        if found != expected:
            wrong.append(f"{printable(manifest.parent / str(name))}: {hash_difference(str(expected), found)}")
    return wrong


def _hash_inside(folder: Path, name: Path) -> str:
    """The hash of a file that a manifest names; it may be a stranger's, and name anything."""
    try:
        inside = not name.is_absolute() and ".." not in name.parts
        return sha256(folder / name) if inside and (folder / name).is_file() else "no file"
    except (OSError, ValueError):
        return "no file"


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(text: str) -> str:
    """A short name for a long text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
