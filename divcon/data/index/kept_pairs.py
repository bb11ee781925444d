"""Near-duplicates of a source, as an earlier scan has paired them: the next scan of the same images does not compare them."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from ...errors import DamagedError
from ...files import atomic, caches, integrity
from ..decoding.formats import DECODER_VERSIONS

KEPT_FROM = 10_000  # images; fewer are paired in a tenth of a second
VERSION = "1"

Originals = Int64[np.ndarray, "n"]


def kept_pairs_file(scan_cache: Path) -> Path:
    """Return the file that belongs to the cache of scans of a source."""
    return scan_cache.parents[1] / "near_duplicates" / f"{scan_cache.stem}.pairs"


def kept_or_paired(file: Path | None, fingerprint: str, n: int, pair: Callable[[], Originals]) -> Originals:
    """Return the position of the original of each of n images, or -1; from the file, if it has those of this fingerprint."""
    if file is None or n < KEPT_FROM:
        return pair()
    key = hashlib.sha256(f"{fingerprint} {VERSION} {DECODER_VERSIONS}".encode()).digest()
    kept = _read(file, key, n)
    if kept is None:
        kept = pair()
        _write(file, key, kept)
    return kept


def _read(file: Path, key: bytes, n: int) -> Originals | None:
    try:
        data = integrity.read_with_digest(file)
    except (OSError, DamagedError):
        return None
    if data[: len(key)] != key:
        return None
    pairs = np.frombuffer(data, np.int64, offset=len(key)).reshape(-1, 2)
    originals = np.full(n, -1, np.int64)
    originals[pairs[:, 0]] = pairs[:, 1]
    return originals


def _write(file: Path, key: bytes, originals: Originals) -> None:
    near = np.flatnonzero(originals >= 0)
    with caches.skip_if_unwritable(file.parents[1]), atomic.atomic_write(file) as part:
        part.write_bytes(key + np.stack([near, originals[near]], 1).tobytes())
        integrity.append_digest(part)
