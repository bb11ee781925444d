"""Names of files. A name is bytes; only the program that made it knows its encoding."""

import re
import unicodedata

# Folders that operating systems make for themselves, compared without regard to case.
SYSTEM_FOLDERS = (
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
    rb"(?:\A|/)(?:\.(?!\.?(?:/|\Z))|(?:%s|found\.[0-9]{3})(?:/|\Z))"
    % "|".join(map(re.escape, SYSTEM_FOLDERS)).encode(),
    re.IGNORECASE,
)


def is_hidden(path: bytes) -> bool:
    """Return true for a path with a name that begins with a dot, or with a folder of the operating system."""
    return _HIDDEN.search(path) is not None


def nfc(name: str) -> str:
    """Return the name with each letter and its accent as one character: macOS writes two, and means the same name."""
    return unicodedata.normalize("NFC", name)


def name_key(name: str) -> str:
    """Return a key that is equal for names that people take for one: "Cat", "cat " and "ｃａｔ"; "red fox" and "red_fox"."""
    return " ".join(re.split(r"[\s_-]+", unicodedata.normalize("NFKC", name).casefold())).strip()


def folders_of(path: bytes) -> tuple[str, ...]:
    """Return the names of the folders above a file, in NFC; bytes that are not UTF-8 become surrogate escapes."""
    above = path.rpartition(b"/")[0].decode("utf-8", "surrogateescape")
    return tuple(nfc(above).split("/")) if above else ()


def without_surrogates(name: str) -> str:
    """Return the name as text that any file can hold: surrogate escapes, and lone surrogates of JSON, become backslash escapes."""
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return name.encode("utf-8", "backslashreplace").decode("utf-8")


def as_text(path: bytes) -> str | None:
    """Return the path as exact text for programs, or None where it is not UTF-8; `printable` is for people."""
    try:
        return path.decode("utf-8")
    except UnicodeDecodeError:
        return None
