"""Validation of one file: it is read, hashed, and decoded completely."""

import base64
import hashlib
import os
import stat
from typing import IO, NamedTuple

from ...files.regular import open_nonblocking
from ..decoding.checked_image import MAX_BYTES
from ..decoding.decode import decode
from ..decoding.image_warnings import notes
from ..decoding.rejection import Rejected
from ..sources.retry import retry
from ..sources.source import ByteRange
from . import near_duplicates

MAX_MEMORY = 2 * 2**30  # bytes that a decoder may take, where it has a process of its own


class Verdict(NamedTuple):
    """The result of validating a file: an upright image of width x height pixels, or the reason why it is none.

    For an image, `detail` lists its warnings, and `thumbnail` is in base64.
    """

    size: int = 0
    mtime_ns: int = 0
    inode: int = 0
    width: int = 0
    height: int = 0
    hash: str = ""
    reason: str = ""
    detail: str = ""
    thumbnail: str = ""


def check_file(byte_range: ByteRange) -> Verdict:
    """Read the bytes that lie there, hash them and decode them completely."""
    try:
        return retry(lambda: _check_path(byte_range))
    except PermissionError as error:
        return Verdict(reason="permission_denied", detail=error.strerror or "")
    except OSError as error:
        return Verdict(reason="io_error", detail=error.strerror or str(error))


def _check_path(byte_range: ByteRange) -> Verdict:
    with open_nonblocking(byte_range.file) as file:
        return _check_open_file(file, byte_range)


def _check_open_file(file: IO[bytes], byte_range: ByteRange) -> Verdict:
    status = os.fstat(file.fileno())
    size = status.st_size if byte_range.size is None else byte_range.size
    verdict = Verdict(size, status.st_mtime_ns, status.st_ino)
    if not stat.S_ISREG(status.st_mode):
        return verdict._replace(reason="not_a_regular_file")
    if size > MAX_BYTES:
        return verdict._replace(reason="file_too_large", detail=f"{size:,} bytes")
    file.seek(byte_range.offset)
    data = file.read(-1 if byte_range.size is None else size)
    if len(data) != size:
        return verdict._replace(reason="io_error", detail="it changed while it was read")
    digest = hashlib.sha256(data).hexdigest()
    return check_bytes(data, byte_range.name or byte_range.file, verdict._replace(hash=digest))


def check_bytes(data: bytes, name: bytes, verdict: Verdict) -> Verdict:
    """Decode an encoded image and return the verdict with its size, or with the reason why it can't be used."""
    try:
        picture, found = decode(data)
        thumbnail = base64.b64encode(near_duplicates.thumbnail(picture)).decode()
    except Rejected as error:
        return verdict._replace(reason=error.reason, detail=error.detail)
    except MemoryError:
        return verdict._replace(reason="memory", detail=f"needs more than {MAX_MEMORY / 2**30:g} GiB")
    height, width = picture.shape[:2]
    detail = ", ".join([*notes(data, name), *found])
    return verdict._replace(width=width, height=height, detail=detail, thumbnail=thumbnail)
