"""What becomes of one file: read, hashed, and decoded whole."""

import base64
import hashlib
import os
import stat
from typing import IO, NamedTuple

from ...files.integrity import open_regular
from ..decoding.checked_image import MAX_BYTES
from ..decoding.decode import decode
from ..decoding.image_warnings import notes
from ..decoding.rejection import Rejected
from ..sources.byte_range import ByteRange
from ..sources.retry import retry
from . import near_duplicates

MEMORY = 2 * 2**30  # bytes that a decoder may take, where it has a process of its own


class Verdict(NamedTuple):
    """What a file is: a picture of width x height (upright), or `reason` says why not."""

    size: int = 0
    mtime_ns: int = 0
    inode: int = 0
    width: int = 0
    height: int = 0
    hash: str = ""
    reason: str = ""
    detail: str = ""
    looks: str = ""  # from afar (near.py), in base64


def check_file(place: ByteRange) -> Verdict:
    """Read what lies there, hash it and decode it whole."""
    try:
        return retry(lambda: _judge_file(place))
    except PermissionError as error:
        return Verdict(reason="permission_denied", detail=error.strerror or "")
    except OSError as error:
        return Verdict(reason="io_error", detail=error.strerror or str(error))


def _judge_file(place: ByteRange) -> Verdict:
    with open_regular(place.file) as file:
        return _judge_open(file, place)


def _judge_open(file: IO[bytes], place: ByteRange) -> Verdict:
    status = os.fstat(file.fileno())
    size = status.st_size if place.size is None else place.size
    blank = Verdict(size, status.st_mtime_ns, status.st_ino)
    if not stat.S_ISREG(status.st_mode):
        return blank._replace(reason="not_a_regular_file")
    if size > MAX_BYTES:
        return blank._replace(reason="file_too_large", detail=f"{size:,} bytes")
    file.seek(place.offset)
    data = file.read(-1 if place.size is None else size)
    if len(data) != size:
        return blank._replace(reason="io_error", detail="it changed while it was read")
    return _judge_bytes(data, place.name or place.file, blank._replace(hash=hashlib.sha256(data).hexdigest()))


def _judge_bytes(data: bytes, path: bytes, verdict: Verdict) -> Verdict:
    try:
        picture, found = decode(data)
        seen = base64.b64encode(near_duplicates.thumbnails(picture)).decode()
    except Rejected as error:
        return verdict._replace(reason=error.reason, detail=error.detail)
    except MemoryError:
        return verdict._replace(reason="memory", detail=f"needs more than {MEMORY / 2**30:g} GiB")
    height, width = picture.shape[:2]
    return verdict._replace(width=width, height=height, detail=", ".join([*notes(data, path), *found]), looks=seen)
