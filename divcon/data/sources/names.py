"""Names of files, as people and programs take them. A name is bytes; only its owner knows what they mean."""

import re
import unicodedata

# Folders that systems make for themselves. They are compared in any case of letters.
SYSTEM = (
    "@eadir",
    "@recycle",
    "@recently-snapshot",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "__macosx",
    "__pycache__",
    "system volume information",
    "lost+found",
    "lost.dir",
    "network trash folder",
    "temporary items",
)
_HIDDEN = re.compile(
    rb"(?:\A|/)(?:\.(?!\.?(?:/|\Z))|(?:%s|found\.[0-9]{3})(?:/|\Z))" % "|".join(map(re.escape, SYSTEM)).encode(),
    re.IGNORECASE,
)


def hidden(path: bytes) -> bool:
    """Whether a file lies in a folder of the system's, or if it or a folder on its path begins with a dot."""
    return _HIDDEN.search(path) is not None


def composed(name: str) -> str:
    """The name with each accent and its letter as one (NFC): macOS writes them apart, and means the same."""
    return unicodedata.normalize("NFC", name)


def alike(name: str) -> str:
    """What names have in common that people take for one: "Cat", "cat " and "ｃａｔ"; "red fox" and "red_fox"."""
    return " ".join(re.split(r"[\s_-]+", unicodedata.normalize("NFKC", name).casefold())).strip()


def folders_of(path: bytes) -> tuple[str, ...]:
    """The folders above a file, composed; bytes that are not UTF-8 are kept, as Python keeps them."""
    above = path.rpartition(b"/")[0].decode("utf-8", "surrogateescape")
    return tuple(composed(above).split("/")) if above else ()


def printed(name: str) -> str:
    """A name of Python's as text that can be written to any file; `show` is for terminals."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def as_text(path: bytes) -> str | None:
    """The path for programs: letter by letter what it is, or None where it is not UTF-8. `show` is for people."""
    try:
        return path.decode("utf-8")
    except UnicodeDecodeError:
        return None
