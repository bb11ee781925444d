"""The index that a run has written: it is opened as it is for as long as the source has not changed."""

from dataclasses import dataclass
from pathlib import Path

from ...errors import DamagedError
from ...files import integrity
from ...runs.folder import MANIFEST
from .index import Index
from .scan_cache import TRANSIENT_REASONS
from .source_state import SourceState


@dataclass(frozen=True)
class KnownIndex:
    """The folder of a saved index, and the state of the source as it is now."""

    folder: Path
    state: SourceState

    def open(self) -> Index | None:
        """Return the saved index if it is whole and the source has not changed since, else None."""
        if not self.state.digest or _saved_state(self.folder) != self.state.digest:
            return None
        try:
            return Index.load(self.folder)
        except DamagedError:
            return None

    def save(self, index: Index) -> None:
        """Save the index of the source in this state."""
        index.save(self.folder, self._lasting_digest(index))

    def note(self, index: Index) -> None:
        """Write the state beside a saved index that equals this one: then the next start need not scan."""
        digest = self._lasting_digest(index)
        if not digest or _saved_state(self.folder) == digest:
            return
        try:
            equal = Index.load(self.folder).table.equals(index.table)
        except DamagedError:
            return
        if equal:
            _write_state(self.folder, digest)

    def forget(self) -> None:
        """Remove the state: the next start scans, because a file has changed that looks unchanged."""
        if _saved_state(self.folder):
            _write_state(self.folder, "")

    def _lasting_digest(self, index: Index) -> str:
        """Return the digest, or nothing where a file could not be read for a reason that may pass: it is tried again."""
        transient = sum(count for reason, count in index.reasons.items() if reason in TRANSIENT_REASONS)
        return self.state.digest if transient == self.state.transient else ""


def _saved_state(folder: Path) -> str:
    try:
        manifest = integrity.read_json(folder / MANIFEST)
    except (OSError, DamagedError):
        return ""
    return str(manifest.get("source", "")) if isinstance(manifest, dict) else ""


def _write_state(folder: Path, digest: str) -> None:
    manifest = integrity.read_json(folder / MANIFEST)
    others = {key: value for key, value in manifest.items() if key != "source"}
    integrity.write_json(folder / MANIFEST, {**others, **({"source": digest} if digest else {})})
