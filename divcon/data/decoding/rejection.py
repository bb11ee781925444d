"""Why a file is no picture to learn from, whatever its decoder throws."""

import contextlib
import struct
from collections.abc import Iterator

from PIL import Image, UnidentifiedImageError

from .formats import EXTRA, FORMATS_SAID, HEADER, UNREAD, begins_as_one_of_ours, foreign, hidden_jpeg
from .headers import JPEG, PNG, jpeg_frame

UNSUPPORTED = ("unsupported", "cannot handle", "unknown raw mode", "unknown pixel mode", "not supported")


class Rejected(ValueError):  # noqa: N818 - it says what became of the file; nothing went wrong
    """Not a picture to learn from. `reason` is one word of a fixed list, `detail` what else is known."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


@contextlib.contextmanager
def judged(data: bytes) -> Iterator[None]:
    """Whatever a decoder throws at us, as a reason."""
    try:
        yield
    except (Rejected, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Rejected("too_many_pixels", str(error)) from error
    except UnidentifiedImageError as error:
        raise _unidentified(data) from error
    except Exception as error:
        raise Rejected(_word(error), str(error)[:200]) from error


def _word(error: Exception) -> str:
    said = str(error).lower()
    if isinstance(error, EOFError) or "truncated" in said:
        return "truncated"
    return "unsupported_mode" if said.startswith(UNSUPPORTED) else "corrupt"


def _unidentified(data: bytes) -> Rejected:
    """A file that no decoder knew: no image at all, unless it begins as one."""
    empty_png = data.startswith(PNG) and 0 in struct.unpack(">II", data[16:24].ljust(8, b"\0"))
    kind = foreign(data)
    if kind in UNREAD:
        return _without_its_decoder(kind, data)
    if kind:
        return Rejected("vector_image" if kind == "SVG" else "format_not_allowed", f"{kind}; {FORMATS_SAID} are read")
    if at := hidden_jpeg(data):
        return Rejected("corrupt", f"a JPEG begins behind {at} other bytes")
    if len(data) < HEADER or not begins_as_one_of_ours(data) or empty_png:
        return Rejected("not_an_image", f"begins with {data[:16]!r}")
    return _unread(data)


def _without_its_decoder(kind: str, data: bytes) -> Rejected:
    """HEIC or AVIF: the decoder is not installed, or it could not read the file."""
    if missing := EXTRA.get(kind):
        return Rejected("needs_extra", f"{kind}; {missing}")
    return Rejected("corrupt", f"{kind}: its header can't be read")


def _unread(data: bytes) -> Rejected:
    """A file that begins as one of our formats."""
    if data.startswith(JPEG) and (frame := jpeg_frame(data)) and not frame.is_common:
        return Rejected("unsupported_mode", frame.said)
    return Rejected("corrupt", "its header can't be read")
