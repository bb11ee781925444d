"""A tar file, read header by header: nothing is unpacked, and the name of a member is never used as a path.

The standard library parses a header. The position of the next header is computed here, because a few bytes can lead
tarfile in circles or keep it busy for hours (CVE-2025-8194, CVE-2024-6232).
"""

import re
import tarfile
from collections.abc import Iterator, Mapping
from typing import IO, NamedTuple

from ...files.text import printable
from ..decoding.checked_image import MAX_BYTES
from .retry import retry

BLOCK = 512
CHUNK = 2**16
MAX_ZEROS = 2**24  # bytes of zeros behind which another header is looked for
MAX_EXTENDED = 2**20  # bytes of an extended header
MAX_NAME = 4096
PAX_TYPES = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
EXTENDED_TYPES = (*PAX_TYPES, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)

# What extended headers set for the next member, by key: its "path", its "size".
Extended = Mapping[bytes, bytes]


class Member(NamedTuple):
    """A file in a tar; one with a `reason` is rejected without being decoded. Offset and size are in bytes."""

    name: bytes
    offset: int
    size: int
    reason: str = ""
    detail: str = ""


class BrokenTarError(Exception):
    """A tar that can't be read any further, with the reason and the details."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def members(file: IO[bytes], size: int) -> Iterator[Member]:
    """Yield the members of a tar of `size` bytes, except folders; BrokenTarError where it can't be read any further."""
    position, extended = 0, dict[bytes, bytes]()
    while True:
        block = _read(file, position, BLOCK)
        if not any(block):
            position = _header_after_zeros(file, position, size)
            if not position:
                return
            block = _read(file, position, BLOCK)
        header = _parse_header(block, position)
        begin, length = _data_begin(file, block, position), _data_length(header, extended)
        position = begin + -(-length // BLOCK) * BLOCK
        if header.type in EXTENDED_TYPES:
            extended |= _read_extended(file, header.type, begin, length)
            continue
        member, extended = _member(header, block, extended, begin, length), {}
        cut = begin + length > size
        if header.type != tarfile.DIRTYPE and (member.reason or not cut):
            yield member
        if cut:
            raise BrokenTarError("truncated_shard", f"it ends in {printable(member.name)}")


def _header_after_zeros(file: IO[bytes], position: int, size: int) -> int:
    """Return the position of a header behind a block of zeros, or 0 where there is none.

    Zeros mark the end of a tar, but tars are concatenated, and blocks get lost.
    """
    for begin in range(position, min(size, position + MAX_ZEROS), CHUNK):
        chunk = _read_available(file, begin, CHUNK)
        zeros = len(chunk) - len(chunk.lstrip(b"\0"))
        if zeros < len(chunk):
            found = begin + zeros // BLOCK * BLOCK
            return found if _is_header(_read_available(file, found, BLOCK)) else 0
    return 0


def _is_header(block: bytes) -> bool:
    try:
        return bool(tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape"))
    except tarfile.HeaderError:
        return False


def _read_available(file: IO[bytes], position: int, length: int) -> bytes:
    def read() -> bytes:
        file.seek(position)
        return file.read(length)

    return retry(read)


def _read(file: IO[bytes], position: int, length: int) -> bytes:
    data = _read_available(file, position, length)
    if len(data) < length:
        raise BrokenTarError(
            "truncated_shard", f"it ends at byte {position + len(data):,}, without the mark of the end of a tar"
        )
    return data


def _parse_header(block: bytes, position: int) -> tarfile.TarInfo:
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise _corrupt(position, str(error)) from error
    if header.size < 0:
        raise _corrupt(position, f"a size of {header.size:,}")
    return header


def _corrupt(position: int, detail: str) -> BrokenTarError:
    if not position:
        return BrokenTarError("not_a_tar", detail)
    return BrokenTarError("corrupt_shard", f"{detail}, byte {position:,}")


def _data_begin(file: IO[bytes], block: bytes, position: int) -> int:
    """Return the position of a member's data: behind its header, and behind the map of a sparse member."""
    more = block[482] if block[156:157] == tarfile.GNUTYPE_SPARSE else 0
    while more:
        position += BLOCK
        more = _read(file, position, BLOCK)[504]
    return position + BLOCK


def _data_length(header: tarfile.TarInfo, extended: Extended) -> int:
    """Return the number of data bytes of a member; links, devices and folders have none, whatever their headers say."""
    if header.type in EXTENDED_TYPES:
        return header.size
    has_data = header.type in tarfile.REGULAR_TYPES or header.type not in tarfile.SUPPORTED_TYPES
    return _number(extended.get(b"size"), header.size) if has_data else 0


def _number(text: bytes | None, default: int) -> int:
    return int(text) if text is not None and len(text) < 20 and text.isdigit() else default


def _read_extended(file: IO[bytes], kind: bytes, begin: int, length: int) -> dict[bytes, bytes]:
    """Return what an extended header sets for the next member: a name that is too long for a header, a size."""
    if length > MAX_EXTENDED:
        raise _corrupt(begin, f"an extended header of {length:,} bytes")
    text = _read(file, begin, length)
    if kind == tarfile.GNUTYPE_LONGNAME:
        return {b"path": text.partition(b"\0")[0]}
    return dict(_pax_records(text, begin)) if kind in PAX_TYPES else {}


def _pax_records(text: bytes, begin: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the records of a pax header; each is "length key=value\\n", and the length counts the whole record."""
    position = 0
    while position < len(text) and text[position]:
        digits = text[position : position + 8].partition(b" ")[0]
        length = _number(digits, 0)
        if length < len(digits) + 2 or position + length > len(text):
            raise _corrupt(begin, "a record of no length")
        key, _, value = text[position + len(digits) + 1 : position + length - 1].partition(b"=")
        yield key, value.partition(b"\0")[0]
        position += length


def _member(header: tarfile.TarInfo, block: bytes, extended: Extended, begin: int, length: int) -> Member:
    own_name = header.name.encode("utf-8", "surrogateescape")
    name = extended.get(b"GNU.sparse.name", extended.get(b"path", own_name))
    return Member(name[:MAX_NAME], begin, length, *_rejection(header, block, extended, name, length))


def _rejection(header: tarfile.TarInfo, block: bytes, extended: Extended, name: bytes, length: int) -> tuple[str, str]:
    """Return the reason why a member is not decoded, and the details; two empty strings where it is."""
    unpacked = max(length, _sparse_size(header, block, extended))
    if header.type not in tarfile.REGULAR_TYPES:
        return "not_a_regular_file", ""
    if unpacked > MAX_BYTES:
        return "member_too_large", f"{unpacked:,} bytes"
    if header.type == tarfile.GNUTYPE_SPARSE or any(key.startswith(b"GNU.sparse.") for key in extended):
        return "sparse_member", f"{length:,} of {unpacked:,} bytes are there"
    return ("name_too_long", f"{len(name):,} bytes") if len(name) > MAX_NAME else ("", "")


def _sparse_size(header: tarfile.TarInfo, block: bytes, extended: Extended) -> int:
    """Return the unpacked size that a sparse member claims, in bytes; 0 for other members."""
    if header.type == tarfile.GNUTYPE_SPARSE:
        field = block[483:495]
        return int.from_bytes(field[1:]) if field[0] & 0x80 else _octal(field)
    return max(_number(extended.get(key), 0) for key in (b"GNU.sparse.realsize", b"GNU.sparse.size"))


def _octal(field: bytes) -> int:
    digits = field.strip(b" \0")
    return int(digits, 8) if re.fullmatch(rb"[0-7]+", digits) else 0
