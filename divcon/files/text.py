"""Text that is safe to show in a terminal."""

import os
from pathlib import Path


def printable(path: Path | str | bytes) -> str:
    """Return a path or text with control characters, and bytes that are not UTF-8, escaped."""
    text = path if isinstance(path, str) else os.fsdecode(path)
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def printable_lines(text: str) -> str:
    """Return the lines of a text, each with `printable`: file names in it may hold control characters."""
    return "\n".join(printable(line) for line in text.split("\n"))


def counted(n: int, noun: str) -> str:
    """Return a number with its noun: 1 image, 2,000 images, 3 classes."""
    return f"{n:,} {noun}{'' if n == 1 else 'es' if noun.endswith('s') else 's'}"


def counted_are(n: int, noun: str) -> str:
    """Return a number with its noun and verb: 1 image is, 2,000 images are."""
    return f"{counted(n, noun)} {'is' if n == 1 else 'are'}"


def _escaped(c: str) -> str:
    """The escape of one character; a surrogate stands for a byte that is not UTF-8, and becomes that byte's escape."""
    return f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else c.encode("unicode_escape").decode()
