"""The formats that are read, recognized by their first bytes, and the names of formats that are not read."""

import contextlib
import importlib
import re

import PIL
import simplejpeg
from PIL import AvifImagePlugin, TiffImagePlugin, WebPImagePlugin, features

from .headers import JPEG, PNG

WEBP = b"RIFF"
WEBP_FORM = b"WEBP"  # behind the length; sound and films are RIFF files too
HEADER = 32
# Imported by name, so that Pillow registers them before threads open files.
PLUGINS = (AvifImagePlugin, TiffImagePlugin, WebPImagePlugin)


def _heif_version() -> str:
    """Register the HEIC decoder with Pillow and return its version; "" where it is not installed."""
    with contextlib.suppress(ImportError, OSError):
        heif = importlib.import_module("pi_heif")
        heif.register_heif_opener(decode_threads=1, thumbnails=False)
        return str(heif.__version__)
    return ""


HEIF, AVIF = _heif_version(), features.version("avif") or ""
FORMATS = ["JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "PGM/PPM", *["AVIF"] * bool(AVIF), *["HEIC"] * bool(HEIF)]
FORMATS_TEXT = f"{', '.join(FORMATS[:-1])} and {FORMATS[-1]}"
# Pillow's names of the formats that it may open.
OPENED = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", *["AVIF"] * bool(AVIF), *["HEIF"] * bool(HEIF)]
# Results of an earlier decoding are used again only if all of these are the same.
DECODER_VERSIONS = ", ".join(
    ["7", f"Pillow {PIL.__version__}", f"simplejpeg {simplejpeg.__version__}", f"AVIF {AVIF}", f"HEIC {HEIF}"]
)
UNREAD = {"HEIC", "AVIF"}  # foreign to Pillow alone; read where their decoder is installed
# Advice for the formats whose decoder is missing here.
MISSING_DECODERS = {
    **({} if HEIF else {"HEIC": "type `pip install 'divcon[heif]'`"}),
    **({} if AVIF else {"AVIF": "this Pillow was built without AVIF: type `pip install --upgrade pillow`"}),
}

SIGNATURES = (PNG, WEBP, JPEG, b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
AFTER_BLANKS = (PNG, JPEG, b"GIF8", b"II*\0", b"MM\0*")
BLANKS = re.compile(rb"(?:\xef\xbb\xbf)?[\s\0]{0,64}")
PADDING = 64  # bytes that may follow the end of a JPEG
FIRST = 1024  # bytes in which a JPEG may begin that has other bytes before it
# Recognized by their first bytes only to name them in a message; they are not parsed.
FOREIGN = {
    b"%!PS": "EPS",
    b"\xc5\xd0\xd3\xc6": "EPS",
    b"%PDF": "PDF",
    b"8BPS": "PSD",
    b"SIMPLE  =": "FITS",
    b"\0\0\1\0": "ICO",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"P7\n": "PAM",
    b"Pf\n": "PFM",
    b"PF\n": "PFM",
    b"v/1\1": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"DDS ": "DDS",
    b"II\xbc\1": "JPEG XR",
    b"gimp xcf": "XCF",
    b"qoif": "QOI",
    b"icns": "ICNS",
    b"/* XPM */": "XPM",
    b"\x01\xda\0\1": "SGI",
    b"\x01\xda\1\1": "SGI",
    b"\x01\xda\0\2": "SGI",
    b"\x01\xda\1\2": "SGI",
    b"IIRO": "camera RAW (ORF)",
    b"IIRS": "camera RAW (ORF)",
    b"MMOR": "camera RAW (ORF)",
    b"IIU\0": "camera RAW (RW2)",
    b"FUJIFILMCCD-RAW": "camera RAW (RAF)",
    b"FOVb": "camera RAW (X3F)",
    b"\0MRM": "camera RAW (MRW)",
    b"II\x1a\0\0\0HEAPCCDR": "camera RAW (CRW)",
}
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
SVG = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]{0,200}>\s*)?(<!(--|DOCTYPE svg)[^>]{0,500}>\s*){0,4}<svg[\s>]", re.IGNORECASE
)


def use_one_thread() -> None:
    """Decode AVIF by one thread: a worker process has one core, and little memory for stacks."""
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1


def has_known_signature(data: bytes) -> bool:
    """Return True if a file begins as the formats that are read."""
    return data.startswith(SIGNATURES) and (not data.startswith(WEBP) or is_webp(data))


def is_webp(data: bytes) -> bool:
    """Return True for a WebP, and False for sound or films in the same container."""
    return data.startswith(WEBP) and data[8:12] == WEBP_FORM


def leading_blanks(data: bytes) -> int:
    """Count the blank bytes (white space, NUL, a byte order mark) that a server has put before an image."""
    if data.startswith(SIGNATURES):
        return 0
    match = BLANKS.match(data)
    end = match.end() if match else 0
    return end if data.startswith(AFTER_BLANKS, end) else 0


def late_jpeg_start(data: bytes) -> int:
    """Return the position of a JPEG with other bytes before it and none behind it; 0 if there is none.

    Songs with a cover and the files that a Mac puts beside others contain an image, but have more behind it."""
    ends = data.rfind(b"\xff\xd9", max(0, len(data) - PADDING)) > 0
    is_tar = data[257:262] == b"ustar"
    return max(0, data.find(JPEG, 0, FIRST)) if ends and not is_tar and not data.startswith(SIGNATURES) else 0


def foreign_format(data: bytes) -> str:
    """Return the name of an image format that Pillow is not asked to read, or can't read; "" for all others."""
    if data[4:8] == b"ftyp":
        return _isobmff_format(data)
    if SVG.match(data):
        return "SVG"
    return next((name for signature, name in FOREIGN.items() if data.startswith(signature)), "")


def _isobmff_format(data: bytes) -> str:
    """Return HEIC, AVIF or camera RAW for an ISO media file, by the brands in its first box; "" for films."""
    length = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, length, 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    if b"crx " in brands:
        return "camera RAW (CR3)"
    return "HEIC" if data[8:12] in HEIC_BRANDS else ""
