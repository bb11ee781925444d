"""A run: a folder of named stages, each done once (runs/folder.py lists the files)."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from .. import dist, failpoints, log
from ..config import differences, to_json_value
from ..errors import OwnedError, UsageError, WaitingError, few
from ..files.atomic import remove_path
from ..files.integrity import write_json
from ..files.paths import shell_quoted
from ..files.text import printable
from ..log import info
from ..machine import Machine
from ..signals import stop_if_requested
from . import owner
from .folder import LOCK, RunFolder, StageFolder
from .json_files import load_record
from .pace import Pace
from .records import RunRecord, StageRecord
from .refusals import refuse_links
from .stage import A, Result, StageContext, Summary, is_by_leader
from .stage_files import clear_half_written, finished_record, tidy, tidy_left
from .stage_key import key_digest, made_by, stage_key
from .state import StageState, state_left
from .verify import verify_stage

P = ParamSpec("P")


@dataclass(frozen=True)
class Taken(Summary):
    """The summary of a stage whose artifact another run has made."""

    taken_from: str


class Run:
    """Does stages in a folder: `stage(name, function, ...)` makes the artifact, or loads it if it is done.

    `only` names the one stage, or group of stages, to do here. `taken` are the stages that come from other runs, with their
    folders there. `changes` are the options that differ from what the run was begun with, in words. `pace` is told of each stage.
    """

    def __init__(
        self,
        folder: Path,
        machine: Machine,
        cache: Path,
        *,
        cache_gb: float = 8.0,
        save_every: float = 30.0,
        only: str | None = None,
        taken: Mapping[str, Path] | None = None,
        steal_lock: bool = False,
        allow_collapse: bool = False,
        changes: str = "",
        pace: Pace | None = None,
    ):
        self.folder, self.machine, self.cache = folder, machine, cache
        self.only, self.taken, self.steal_lock, self.changes = only, dict(taken or {}), steal_lock, changes
        self.context = StageContext(
            folder, "", machine, cache, cache_gb=cache_gb, save_every=save_every, allow_collapse=allow_collapse
        )
        self.pace = pace or Pace({})
        self.did: list[str] = []
        self.verified: set[str] = set()  # stages whose files were found as they were written
        self.reached_only = False

    def stage(
        self, name: str, do: Callable[Concatenate[StageContext, P], Result[A]], *args: P.args, **kwargs: P.kwargs
    ) -> A:
        """Do the stage; or load its artifact, if it was done with the same function, artifacts and recipe."""
        kind: type[A] = made_by(do)
        key = stage_key(do, [*args, *kwargs.values()])
        if name in self.taken:
            key = {"taken": kind.load(self.taken[name]).fingerprint}
        chosen = self.only is None or name == self.only or name.startswith(f"{self.only}/")
        if dist.on_leader(lambda: self._is_done(name, key, chosen)):
            self.pace.finish(name, self._seconds_taken(name))
        else:
            self._do(name, key, lambda context: self._result(context, kind, do, *args, **kwargs))
        self.reached_only |= self.only is not None and chosen
        return kind.load(self._folder(name).path)

    def _is_done(self, name: str, key: Any, chosen: bool) -> bool:
        """True for a stage that is done, in this way. WaitingError, if it is not and another process is to do it."""
        if self._folder(name).is_done:
            self._refuse_changes(name, key)
            self._verify(name)
            tidy_left(self._folder(name))
            return True
        if not chosen:
            raise WaitingError(
                f"stage {name} is not done yet; type the same command without --only, or with --only {name}"
            )
        return False

    def stages(self, name: str, do: Callable[..., Result[A]], each: Sequence[tuple[Any, ...]]) -> list[A]:
        """The stages name/0, name/1, ...: independent of one another, so other processes may do some of them."""
        dist.on_leader(lambda: self._record_group(name, len(each)))
        self.pace.plan_group(name, do, each)
        done = dist.on_leader(lambda: self._done_in(name, len(each)))
        for i in done:
            self.stage(f"{name}/{i}", do, *each[i])  # a changed option is refused before new work begins
        with dist.split(name, self.machine.expert_ranks) as part:
            waiting = self._do_group(name, do, each, part)
        if waiting:
            raise waiting[0]
        self._note_done(f"{name}/{i}" for i in range(len(each)) if i not in done)
        return [made_by(do).load(self._folder(f"{name}/{i}").path) for i in range(len(each))]

    def _done_in(self, name: str, size: int) -> list[int]:
        """The numbers of the stages of a group that are done."""
        return [i for i in range(size) if self._folder(f"{name}/{i}").is_done]

    def _note_done(self, names: Iterable[str]) -> None:
        """Note what other ranks have done."""
        for name in names:
            if name not in self.did:
                self.did.append(name)
                self.pace.finish(name, self._seconds_taken(name))

    def _do_group(
        self, name: str, do: Callable[..., Result[A]], each: Sequence[tuple[Any, ...]], part: dist.Part
    ) -> list[WaitingError | OwnedError]:
        """Do the stages that this part of the ranks claims, and return the errors of those that other processes do."""
        waiting = list[WaitingError | OwnedError]()
        for i in self._turns(name, len(each), part):
            try:
                self.stage(f"{name}/{i}", do, *each[i])
            except (WaitingError, OwnedError) as error:
                if isinstance(error, OwnedError) and self.only == f"{name}/{i}":
                    raise
                waiting.append(error)
        return waiting

    def _turns(self, name: str, size: int, part: dist.Part) -> Iterator[int]:
        """The numbers of the stages that this part of the ranks is to do: all in order, or, among several parts, always the
        largest that nobody has claimed. It ends when the last part is done."""
        if part.parts == 1:
            yield from range(size)
            return
        order = self.pace.largest_first(name, size)
        while part.number is not None and (turn := part.claim()) < size:
            yield order[turn]
        part.wait_for_others()

    def _folder(self, name: str) -> StageFolder:
        return RunFolder(self.folder).stage(name)

    def _record_group(self, name: str, size: int) -> None:
        """Write down how many stages a group has: before the clusters are made, nobody knows it."""
        if not RunFolder(self.folder).is_run or RunRecord.read(self.folder).groups.get(name) == size:
            return
        with owner.owned_briefly(self.folder, steal=self.steal_lock):
            record = RunRecord.read(self.folder)
            replace(record, groups={**record.groups, name: size}).write(self.folder)

    def _result(
        self,
        context: StageContext,
        kind: type[A],
        do: Callable[Concatenate[StageContext, P], Result[A]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Summary:
        """Make the artifact, or take it from another run, and save it."""

        def take() -> Summary:
            source = self.taken[context.name]
            kind.load(source).save(context.folder)
            return Taken(printable(source))

        def make() -> Summary:
            with self.machine.use():
                result = do(context, *args, **kwargs)
                failpoints.at("stage.made")
                context.check_owner()
                if dist.is_leader():
                    result.artifact.save(context.folder)
            return result.summary

        if context.name in self.taken:
            return dist.on_leader_only(take, Summary())
        return dist.on_leader_only(make, Summary()) if is_by_leader(do) else make()

    def _do(self, name: str, key: Any, make: Callable[[StageContext], Summary]) -> None:
        """Own the folder, do the stage, and write stage.json last. All ranks do it; the leader alone owns and writes."""
        state = StageState(self._folder(name), key)
        with contextlib.ExitStack() as owned:
            if not dist.on_leader(lambda: self._begin(owned, state, name)):
                return
            self.pace.begin(name)
            failpoints.at("stage.begun")
            summary = make(self._context(name, state))
            failpoints.at("stage.saved")
            dist.on_leader(lambda: self._finish(name, state, summary))
        self.verified.add(name)
        self.did.append(name)
        self.pace.finish(name, None if name in self.taken else state.seconds())

    def _begin(self, owned: contextlib.ExitStack, state: StageState, name: str) -> bool:
        """Own the folder as long as the stack is open, and say that the stage is running. False, if another process was
        quicker and has done it."""
        stop_if_requested("nothing was begun")
        refuse_links(self.folder, [name])
        owned.enter_context(owner.owned(state.folder.path, steal=self.steal_lock))
        if state.folder.is_done:
            self._refuse_changes(name, state.key)
            self._verify(name)
            return False
        state.before = self._prepare_folder(name, state.key)
        owned.enter_context(state.running())
        return True

    def _finish(self, name: str, state: StageState, summary: Summary) -> None:
        """Write stage.json, and remove what only the running stage needed."""
        state.check_owner()
        write_json(state.folder.record, finished_record(state.folder, state, summary))
        failpoints.at("stage.done")
        tidy(state.folder)
        failpoints.at("stage.tidied")
        log.record(name, None, {"seconds": state.seconds(), **to_json_value(summary)}, key_digest(state.key))
        info(f"{name}: done in {state.seconds():,.0f} s{summary.in_words()}")

    def _seconds_taken(self, name: str) -> float | None:
        """The seconds that a finished stage took; None for one that another run has made."""
        return None if name in self.taken else load_record(StageRecord, self._folder(name).record).seconds

    def _context(self, name: str, state: StageState) -> StageContext:
        context = replace(self.context, folder=state.folder.path, name=name, key_digest=key_digest(state.key))
        if not dist.is_leader():
            return context
        return replace(context, check_owner=state.check_owner, write_state=state.write)

    def _prepare_folder(self, name: str, key: Any) -> float:
        """Delete remains that can't be used, and return the seconds that were already spent on this same stage. UsageError, if
        there are checkpoints of other options."""
        folder = self._folder(name)
        clear_half_written(folder.path)
        state = state_left(folder, key, key_digest(key))
        if state and state.key == key:
            return state.seconds
        if state and folder.has_checkpoints():
            self._refuse(name, "begun", state.key, key)
        for path in folder.path.iterdir():
            if path.name != LOCK:
                failpoints.at("stage.clearing")
                remove_path(path)
        return 0.0

    def _refuse_changes(self, name: str, key: Any) -> None:
        """UsageError, if the finished stage was done with other options."""
        before = load_record(StageRecord, self._folder(name).record).key
        if before != key:
            self._refuse(name, "done", before, key)

    def _verify(self, name: str) -> None:
        """Check the files of a finished stage once, before anything is built on them."""
        if name not in self.verified:
            verify_stage(self.folder, name)
            self.verified.add(name)

    def _refuse(self, name: str, state: str, before: Any, key: Any) -> None:
        differ = differences(before, key) if before else [("what its checkpoints belong to", "other options", "these")]
        what = self.changes or few((f"{where} was {old!r}, is {new!r}" for where, old, new in differ), "; ")
        raise UsageError(
            f"stage {name} in {printable(self.folder)} was {state} with other options: {what}. "
            f"Use another folder (out=...), or type: divcon redo {shell_quoted(self.folder)} {name}"
        )
