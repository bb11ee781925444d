"""The reasons why a file is rejected, whatever its decoder raises."""

import contextlib
import struct
from collections.abc import Iterator

from PIL import Image, UnidentifiedImageError

from .formats import (
    FORMATS_TEXT,
    HEADER,
    MISSING_DECODERS,
    UNREAD,
    foreign_format,
    has_known_signature,
    late_jpeg_start,
)
from .headers import JPEG, PNG, jpeg_frame

UNSUPPORTED = ("unsupported", "cannot handle", "unknown raw mode", "unknown pixel mode", "not supported")


class Rejected(ValueError):  # noqa: N818 - it says what became of the file; nothing went wrong
    """A file that is no image to learn from. `reason` is one word of a fixed list; `detail` is what else is known."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


@contextlib.contextmanager
def as_rejection(data: bytes) -> Iterator[None]:
    """Raise Rejected in place of any exception of a decoder, with a reason; MemoryError passes."""
    try:
        yield
    except (Rejected, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Rejected("too_many_pixels", str(error)) from error
    except UnidentifiedImageError as error:
        raise _unidentified(data) from error
    except Exception as error:
        raise Rejected(_reason(error), str(error)[:200]) from error


def _reason(error: Exception) -> str:
    message = str(error).lower()
    if isinstance(error, EOFError) or "truncated" in message:
        return "truncated"
    return "unsupported_mode" if message.startswith(UNSUPPORTED) else "corrupt"


def _unidentified(data: bytes) -> Rejected:
    """Return the rejection of a file that no decoder recognized."""
    empty_png = data.startswith(PNG) and 0 in struct.unpack(">II", data[16:24].ljust(8, b"\0"))
    name = foreign_format(data)
    if name in UNREAD:
        return _without_decoder(name)
    if name:
        return Rejected("vector_image" if name == "SVG" else "format_not_allowed", f"{name}; {FORMATS_TEXT} are read")
    if start := late_jpeg_start(data):
        return Rejected("corrupt", f"a JPEG begins behind {start} other bytes")
    if len(data) < HEADER or not has_known_signature(data) or empty_png:
        return Rejected("not_an_image", f"begins with {data[:16]!r}")
    return _unreadable(data)


def _without_decoder(name: str) -> Rejected:
    """Return the rejection of a HEIC or AVIF: the decoder is not installed, or it could not read the file."""
    if advice := MISSING_DECODERS.get(name):
        return Rejected("needs_extra", f"{name}; {advice}")
    return Rejected("corrupt", f"{name}: its header can't be read")


def _unreadable(data: bytes) -> Rejected:
    """Return the rejection of a file that begins with the signature of a format that is read."""
    if data.startswith(JPEG) and (frame := jpeg_frame(data)) and not frame.is_common:
        return Rejected("unsupported_mode", frame.description)
    return Rejected("corrupt", "its header can't be read")
