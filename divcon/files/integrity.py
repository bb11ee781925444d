"""SHA-256 hashes in and beside files: a changed or damaged file is noticed when it is read.

Three forms: a JSON object has a seal as its first key, a binary file of ours has its hash in its last 32 bytes, and a
manifest (a sealed JSON object) names the hashes of other files.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from ..errors import DamagedError
from .atomic import write_text
from .regular import read_regular_file
from .text import printable

SEALED = re.compile(rb'\{\n "seal": "([0-9a-f]{64})"(.*)', re.DOTALL)
DIGEST_SIZE = 32  # bytes of a SHA-256


def write_json(path: Path, value: object) -> None:
    """Write a value as JSON, atomically. An object gets a seal as its first key; a list is written without one."""
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    write_text(path, seal(text) if isinstance(value, dict) else text)


def read_json(path: Path, advice: str = "put back a copy, or remove its folder to do it again") -> Any:
    """Return the value that `write_json` wrote; raise DamagedError, which ends with the advice, if the file has changed since."""
    try:
        data = read_regular_file(path)
        return json.loads(data) if data.startswith(b"[") else unseal(data)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{printable(path)} is damaged ({error}); {advice}") from error


def seal(text: str) -> str:
    """Return the text of a JSON object with a first key "seal": the SHA-256 of the text that follows it."""
    rest = f"{'' if text.strip() == '{}' else ','}{text[1:]}"
    return f'{{\n "seal": "{hashlib.sha256(rest.encode()).hexdigest()}"{rest}'


def unseal(data: bytes) -> dict[str, Any]:
    """Return the JSON object without its seal; raise ValueError if the seal is missing or does not match."""
    match = SEALED.fullmatch(data)
    if match is None:
        raise ValueError("no seal where it should begin with one: another program, or an older divcon, wrote it")
    found = hashlib.sha256(match[2]).hexdigest()
    if found != match[1].decode():
        raise ValueError(hash_difference(match[1].decode(), found))
    return {key: value for key, value in json.loads(data).items() if key != "seal"}


def append_digest(path: Path) -> None:
    """Append the SHA-256 of a file to the file, as 32 bytes."""
    with path.open("ab") as file:
        file.write(bytes.fromhex(sha256(path)))


def read_with_digest(path: Path) -> bytes:
    """Return the content of a file without its appended SHA-256; raise DamagedError if they do not match."""
    try:
        data = read_regular_file(path)
    except ValueError as error:
        raise DamagedError(f"{printable(path)} is damaged ({error})") from error
    check_digest(path, data)
    return data[:-DIGEST_SIZE]


def check_digest(path: Path, data: bytes | memoryview) -> None:
    """Raise DamagedError if the last 32 bytes of the content of a file are not the SHA-256 of those before them."""
    if len(data) < DIGEST_SIZE:
        raise DamagedError(f"{printable(path)} is damaged (no seal at its end: it has {len(data)} bytes)")
    expected, found = bytes(data[-DIGEST_SIZE:]).hex(), hashlib.sha256(data[:-DIGEST_SIZE]).hexdigest()
    if found != expected:
        raise DamagedError(f"{printable(path)} is damaged ({hash_difference(expected, found)})")


def mismatches(manifest: Path) -> list[str]:
    """Return a message for each file whose hash differs from the one in the manifest: its name, expected and found hash.

    The manifest is a JSON file with `{"sha256": {name: hash}}`; the names are relative to its folder.
    """
    try:
        hashes = dict(read_json(manifest)["sha256"])
    except (OSError, DamagedError, KeyError, TypeError, ValueError) as error:
        return [str(error) if isinstance(error, DamagedError) else f"{printable(manifest)} can't be read: {error!r}"]
    messages = []
    for name, expected in hashes.items():
        found = _sha256_inside(manifest.parent, Path(str(name)))
        if found != expected:
            messages.append(f"{printable(manifest.parent / str(name))}: {hash_difference(str(expected), found)}")
    return messages


def _sha256_inside(folder: Path, name: Path) -> str:
    """The hash of a file inside the folder; "no file" for a name that leads outside (a manifest may be a stranger's)."""
    try:
        inside = not name.is_absolute() and ".." not in name.parts
        return sha256(folder / name) if inside and (folder / name).is_file() else "no file"
    except (OSError, ValueError):
        return "no file"


def hash_difference(expected: str, found: str) -> str:
    """The words of a message about two hashes that differ."""
    return f"expected sha256 {expected[:12]}, found {found[:12]}"


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(text: str) -> str:
    """A short name for a long text: the first 16 digits of its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
