"""A tar file, followed from header to header: nothing is unpacked, and a member's name is never a path.

The standard library reads a header; which comes next is found here, for tarfile can be led in circles and be kept busy
for hours by a few bytes (CVE-2025-8194, CVE-2024-6232).
"""

import re
import tarfile
from collections.abc import Iterator
from typing import IO, NamedTuple

from ...files.text import printable
from ..decoding.checked_image import MAX_BYTES
from .retry import retry

BLOCK = 512
CHUNK = 2**16
MOST_ZEROS = 2**24  # bytes that are looked through behind an end
MOST_SAID = 2**20  # bytes about one member: its name, in practice
MOST_NAME = 4096
FILES = (*tarfile.REGULAR_TYPES,)
PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
SAYING = (*PAX, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)  # headers of headers


class Member(NamedTuple):
    """What a header says of the bytes behind it; with a reason, they are no image."""

    name: bytes
    offset: int
    size: int
    reason: str = ""
    detail: str = ""


class BrokenError(Exception):
    """A shard that can't be followed any further: the reason, and the details."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def members(file: IO[bytes], size: int) -> Iterator[Member]:
    """What is in a tar of so many bytes, folders left out. BrokenError where it can't be followed any further."""
    at, said = 0, dict[bytes, bytes]()
    while True:
        block = _read(file, at, BLOCK)
        if not any(block):
            at = _behind_zeros(file, at, size)
            if not at:
                return
            block = _read(file, at, BLOCK)
        head = _head(block, at)
        begin, length = _begin(file, block, at), _length(head, said)
        at = begin + -(-length // BLOCK) * BLOCK
        if head.type in SAYING:
            said |= _said(file, head.type, begin, length)
            continue
        member, said = _member(head, block, said, begin, length), {}
        cut = begin + length > size
        if head.type != tarfile.DIRTYPE and (member.reason or not cut):
            yield member
        if cut:
            raise BrokenError("truncated_shard", f"it ends in {printable(member.name)}")


def _behind_zeros(file: IO[bytes], at: int, size: int) -> int:
    """Where another header follows what looks like the end: tars are put behind one another, and blocks get lost. 0 where
    none does."""
    for begin in range(at, min(size, at + MOST_ZEROS), CHUNK):
        chunk = _some(file, begin, CHUNK)
        zeros = len(chunk) - len(chunk.lstrip(b"\0"))
        if zeros < len(chunk):
            found = begin + zeros // BLOCK * BLOCK
            return found if _is_header(_some(file, found, BLOCK)) else 0
    return 0


def _is_header(block: bytes) -> bool:
    try:
        return bool(tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape"))
    except tarfile.HeaderError:
        return False


def _some(file: IO[bytes], at: int, length: int) -> bytes:
    """The bytes there, as many as there are."""

    def read() -> bytes:
        file.seek(at)
        return file.read(length)

    return retry(read)


def _read(file: IO[bytes], at: int, length: int) -> bytes:
    data = _some(file, at, length)
    if len(data) < length:
        raise BrokenError("truncated_shard", f"it ends at byte {at + len(data):,}, without a mark that it is the end")
    return data


def _head(block: bytes, at: int) -> tarfile.TarInfo:
    try:
        head = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise _broken(at, str(error)) from error
    if head.size < 0:
        raise _broken(at, f"a size of {head.size:,}")
    return head


def _broken(at: int, what: str) -> BrokenError:
    return BrokenError("corrupt_shard", f"{what}, byte {at:,}") if at else BrokenError("not_a_tar", what)


def _begin(file: IO[bytes], block: bytes, at: int) -> int:
    """Where a member's bytes begin: behind its header, and behind the list of what a sparse one has."""
    more = block[482] if block[156:157] == tarfile.GNUTYPE_SPARSE else 0
    while more:
        at += BLOCK
        more = _read(file, at, BLOCK)[504]
    return at + BLOCK


def _length(head: tarfile.TarInfo, said: dict[bytes, bytes]) -> int:
    """How many bytes the member has here; links, devices and folders have none, whatever they say."""
    if head.type in SAYING:
        return head.size
    holds = head.type in FILES or head.type not in tarfile.SUPPORTED_TYPES
    return _number(said.get(b"size"), head.size) if holds else 0


def _number(text: bytes | None, other: int) -> int:
    return int(text) if text is not None and len(text) < 20 and text.isdigit() else other


def _said(file: IO[bytes], kind: bytes, begin: int, length: int) -> dict[bytes, bytes]:
    """What is said of the next member, before its own header: a name that is too long for that, a size."""
    if length > MOST_SAID:
        raise _broken(begin, f"{length:,} bytes about one member")
    text = _read(file, begin, length)
    if kind == tarfile.GNUTYPE_LONGNAME:
        return {b"path": text.partition(b"\0")[0]}
    return dict(_records(text, begin)) if kind in PAX else {}


def _records(text: bytes, begin: int) -> Iterator[tuple[bytes, bytes]]:
    """The records of a pax header, each "length key=value\\n" with its own length before it."""
    at = 0
    while at < len(text) and text[at]:
        digits = text[at : at + 8].partition(b" ")[0]
        length = _number(digits, 0)
        if length < len(digits) + 2 or at + length > len(text):
            raise _broken(begin, "a record of no length")
        key, _, value = text[at + len(digits) + 1 : at + length - 1].partition(b"=")
        yield key, value.partition(b"\0")[0]
        at += length


def _member(head: tarfile.TarInfo, block: bytes, said: dict[bytes, bytes], begin: int, length: int) -> Member:
    own = head.name.encode("utf-8", "surrogateescape")
    name = said.get(b"GNU.sparse.name", said.get(b"path", own))
    return Member(name[:MOST_NAME], begin, length, *_against(head, block, said, name, length))


def _against(
    head: tarfile.TarInfo, block: bytes, said: dict[bytes, bytes], name: bytes, length: int
) -> tuple[str, str]:
    """Why a member is not even looked at, in a word, and the details; or nothing."""
    whole = max(length, _unpacked(head, block, said))
    if head.type not in FILES:
        return "not_a_regular_file", ""
    if whole > MAX_BYTES:
        return "member_too_large", f"{whole:,} bytes"
    if head.type == tarfile.GNUTYPE_SPARSE or any(key.startswith(b"GNU.sparse.") for key in said):
        return "sparse_member", f"{length:,} of {whole:,} bytes are there"
    return ("name_too_long", f"{len(name):,} bytes") if len(name) > MOST_NAME else ("", "")


def _unpacked(head: tarfile.TarInfo, block: bytes, said: dict[bytes, bytes]) -> int:
    """How large a sparse member says that it would become; 0 of others."""
    if head.type == tarfile.GNUTYPE_SPARSE:
        field = block[483:495]
        return int.from_bytes(field[1:]) if field[0] & 0x80 else _octal(field)
    return max(_number(said.get(key), 0) for key in (b"GNU.sparse.realsize", b"GNU.sparse.size"))


def _octal(field: bytes) -> int:
    digits = field.strip(b" \0")
    return int(digits, 8) if re.fullmatch(rb"[0-7]+", digits) else 0
