"""Work that one rank does for the others: they wait for its answer, or get its error."""

import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from ..errors import TOLD, LostError, from_json, to_json
from ..signals import stop_requested
from .group import Group, alone, current
from .lost import AGAIN, lost_otherwise
from .timeout import TIMEOUT

T = TypeVar("T")
BEAT = 2.0  # seconds between two signs of life of a rank that works while others wait
FIRST_SLEEP, LONGEST_SLEEP = 0.0005, 0.05  # seconds between two looks at the store
STOPPING = 3 * BEAT  # seconds that a rank which was asked to stop waits for a sign of life: a launcher stops the ranks of a dead one

_asked: Counter[str] = Counter()  # the number of answers so far in each group; the ranks of a group count alike


def is_leader() -> bool:
    """True on the rank that decides, claims and writes for its group; True for a process alone."""
    return current().rank == 0


def on_leader(do: Callable[[], T]) -> T:
    """Do it on rank 0 of the group, alone, and return its answer on every rank; an error is raised on every rank.

    The answer must be JSON: what a shared store says is never unpickled.
    """
    group = current()
    if group.size == 1:
        return do()
    key = next_key(group)
    if group.rank == 0:
        with _telling(group, key) as tell:
            answer = do()
            tell(answer)
        return answer
    return _answer(group, key, leader=0)  # type: ignore[no-any-return]


def on_leader_only(do: Callable[[], T], otherwise: T) -> T:
    """Do it on rank 0 of the group, alone, and return its answer there; the other ranks wait, and return `otherwise`."""
    answers = list[T]()
    on_leader(lambda: answers.append(do()))
    return answers[0] if answers else otherwise


def first_on_host(do: Callable[[], T]) -> T:
    """Do it on one rank of each host, then on the other ranks there: they find what the first one has put into the cache."""
    group = current()
    if group.size == 1:
        return do()
    first = group.first_here
    key = f"{next_key(group)}/{first}"
    if group.rank == first:
        with _telling(group, key) as tell:
            made = do()
            tell(None)
        return made
    _answer(group, key, leader=first)
    with alone():
        return do()


@contextlib.contextmanager
def _telling(group: Group, key: str) -> Iterator[Callable[[Any], None]]:
    """Give signs of life while the block works, alone; yield a function that tells its answer. An error is told, too."""
    assert group.store is not None
    store = group.store

    def tell(answer: Any) -> None:
        lost_otherwise(lambda: store.set(key, json.dumps({"answer": answer})))

    with signs_of_life(group), alone():
        try:
            yield tell
        except BaseException as error:
            with contextlib.suppress(LostError):
                lost_otherwise(lambda: store.set(key, json.dumps(to_json(error))))
            raise


def _answer(group: Group, key: str, leader: int) -> Any:
    """Wait for what the leader tells, and return it, or raise it if it is an error."""
    assert group.store is not None
    store = group.store
    wait_for(group, lambda: bool(store.check([key])), [leader])
    told = json.loads(lost_otherwise(lambda: store.get(key)))
    if "error" in told:
        error = from_json(told)
        error.add_note(TOLD)
        raise error
    return told["answer"]


def wait_for(group: Group, came: Callable[[], bool], working: Sequence[int]) -> None:
    """Wait until something came. LostError, if one of the ranks that are working for it gives no sign of life for too long."""
    sleep, looked = FIRST_SLEEP, time.monotonic()
    beats = {rank: (-1, looked) for rank in working}
    while not lost_otherwise(came):
        time.sleep(sleep)
        sleep = min(LONGEST_SLEEP, 1.5 * sleep)
        if time.monotonic() - looked > BEAT:
            looked = time.monotonic()
            beats = {rank: _checked(group, rank, *beat, looked) for rank, beat in beats.items()}


def _checked(group: Group, rank: int, beat: int, since: float, now: float) -> tuple[int, float]:
    """The newest sign of life of a rank, and the time since when it is known. LostError, if that is too long ago."""
    newest, patience = _beat(group, rank), STOPPING if stop_requested() else TIMEOUT.total_seconds()
    if newest == beat and now - since > patience:
        raise LostError(f"rank {rank} has given no sign of life for {now - since:,.0f} s; {AGAIN}")
    return newest, since if newest == beat else now


@contextlib.contextmanager
def signs_of_life(group: Group) -> Iterator[None]:
    """Give a sign of life every two seconds while the block runs."""
    assert group.store is not None
    ended, store, key = threading.Event(), group.store, _alive(group, group.rank)

    def beat() -> None:
        with contextlib.suppress(RuntimeError):  # the block will meet the same error
            while not ended.wait(BEAT):
                store.add(key, 1)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _beat(group: Group, rank: int) -> int:
    assert group.store is not None
    store = group.store
    return lost_otherwise(lambda: int(store.add(_alive(group, rank), 0)))


def _alive(group: Group, rank: int) -> str:
    return f"{group.name}/alive/{rank}"


def next_key(group: Group) -> str:
    """Return a name that no answer in the group's store has had: all ranks of the group get the same one."""
    _asked[group.name] += 1
    return f"{group.name}/answers/{_asked[group.name]}"
