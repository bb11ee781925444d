"""Shards of a long work: several processes do one each, on any machines that see the same folder, and the one that finishes last
joins them. A shard is a folder of files with a manifest, which is written last."""

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import DamagedError, DataError, OwnedError, UsageError
from ..files.atomic import remove_folder
from ..files.integrity import mismatches, sha256, write_json
from ..files.text import printable
from ..log import info, warning
from ..runs import owner
from ..runs.folder import MANIFEST
from ..runs.json_files import load_record

FORM = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


@dataclass(frozen=True)
class Shard:
    """One of `count` shards, numbered from 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Return the shard that a text like 3/8 names; UsageError for any other text."""
        match = FORM.fullmatch(text)
        shard = cls(int(match[1]), int(match[2])) if match else None
        if shard is None or not 1 <= shard.number <= shard.count:
            raise UsageError(f"--shard {printable(text)}: type its number and that of all, from 1/8 to 8/8")
        return shard

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def folder(self, shards: Path) -> Path:
        return shards / f"{self.number}-of-{self.count}"

    def all(self) -> list["Shard"]:
        """Return all shards, this one among them."""
        return [Shard(number, self.count) for number in range(1, self.count + 1)]


@dataclass(frozen=True)
class ShardRecord:
    """The manifest of a finished shard: the digest of all that the shards depend on, the hashes of its files, and the state of
    what this shard alone was made from."""

    key: str
    sha256: dict[str, str]
    state: str = ""


@dataclass(frozen=True)
class FinishedShard:
    """A finished shard with its folder and its manifest."""

    shard: Shard
    folder: Path
    record: ShardRecord


def finish_shard(
    shards: Path, shard: Shard, key: str, make: Callable[[Path], Sequence[str]], *, state: str = ""
) -> None:
    """Make the files of a shard, unless it is finished. `make` gets the folder, goes on with what a killed process has left
    there, and returns the names of the files."""
    folder = shard.folder(shards)
    with owner.owned(folder):
        if _is_finished(folder, key, state):
            info(f"shard {shard} is finished already")
            return
        hashes = {name: sha256(folder / name) for name in make(folder)}
        owner.check(folder)
        write_json(folder / MANIFEST, asdict(ShardRecord(key, hashes, state)))


def join_if_last(
    shards: Path, shard: Shard, key: str, join: Callable[[Sequence[FinishedShard]], None], *, unlike: str
) -> list[str]:
    """Join the shards if all are finished, and remove them; else return those that are not, as typed.

    If two finish at once, one of them joins. `unlike` says what differs in a shard with another key.
    """
    try:
        with owner.owned(shards):
            waiting = [str(each) for each in shard.all() if not (each.folder(shards) / MANIFEST).is_file()]
            if waiting:
                return waiting
            join([_finished(each, shards, key, unlike) for each in shard.all()])
            for each in shard.all():
                remove_folder(each.folder(shards), MANIFEST)
    except OwnedError:
        info("another process joins the shards")
        return []
    with contextlib.suppress(OSError):  # shards of another number are somebody's, and stay
        shards.rmdir()
    return []


def _is_finished(folder: Path, key: str, state: str) -> bool:
    """True for a shard with a manifest of this key and state, and intact files; any other manifest is removed."""
    if not (folder / MANIFEST).is_file():
        return False
    try:
        record, damage = load_record(ShardRecord, folder / MANIFEST), mismatches(folder / MANIFEST)
    except DamagedError as error:
        record, damage = None, [str(error)]
    if damage:
        warning(f"{'; '.join(damage)}. The shard is made again")
    if damage or record is None or (record.key, record.state) != (key, state):
        (folder / MANIFEST).unlink()
        return False
    return True


def _finished(shard: Shard, shards: Path, key: str, unlike: str) -> FinishedShard:
    """Return a finished shard; DataError for one that is damaged or does not belong to the others."""
    folder = shard.folder(shards)
    record = load_record(ShardRecord, folder / MANIFEST)
    wrong = mismatches(folder / MANIFEST)
    if wrong or record.key != key:
        reason = "; ".join(wrong) or unlike
        raise DataError(
            f"shard {shard} in {printable(folder)} does not belong to the others ({reason}); remove this folder and type the "
            f"command with --shard {shard} again"
        )
    return FinishedShard(shard, folder, record)
