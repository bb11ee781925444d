"""Text that is safe to show in a terminal."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


def printable(path: Path | str | bytes) -> str:
    """A path that is safe to show: control characters and bytes that are not UTF-8 escaped."""
    text = path if isinstance(path, str) else os.fsdecode(path)
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(c: str) -> str:
    """A character as text; one that stands for a byte of a name that is not UTF-8, as that byte."""
    return f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else c.encode("unicode_escape").decode()
