"""Decoding by processes that may be killed: whatever a file does to its decoder, the scan goes on.

    parent -> child   places, each as four fields: all of them joined by NUL
    child -> parent   "ready" at its start; then for each place, in order, a verdict as JSON

each behind its length in four bytes. A child ends when its input closes.
"""

import contextlib
import json
import os
import queue
import resource
import select
import shlex
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import IO

from ...errors import ResourceError
from ..decoding import formats
from ..sources.byte_range import ByteRange
from . import validate
from .validate import Verdict, check_file

COMMAND = (sys.executable, "-P", "-m", "divcon.data.index.decode_worker")
READY = b"ready"
SECONDS = 30.0
START_SECONDS = 120.0
STARTS = 3
# So few that a request of the longest paths and names there can be fits into a pipe, and writing it never waits.
BATCH = 12


def serve(judge: Callable[[ByteRange], Verdict] = check_file) -> None:
    """The child's life: answer until the input closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # nobody to answer to: end without a word
    source, out = os.fdopen(os.dup(0), "rb"), os.dup(1)
    _send(out, READY)
    _be_quiet()
    _cap_memory()
    formats.use_one_thread()
    while request := _receive(source):
        for place in _places(request):
            signal.alarm(int(4 * SECONDS))  # a parent that was killed can't end a decoder that hangs
            _send(out, json.dumps(judge(place)).encode())
            signal.alarm(0)


def _request(places: Sequence[ByteRange]) -> bytes:
    """Places in bytes: no path and no name has a NUL in it."""
    fields = ((p.file, b"%d" % p.offset, b"" if p.size is None else b"%d" % p.size, p.name) for p in places)
    return b"\0".join(field for place in fields for field in place)


def _places(request: bytes) -> Iterator[ByteRange]:
    fields = iter(request.split(b"\0"))
    for file, offset, size, name in zip(fields, fields, fields, fields):
        yield ByteRange(file, int(offset), int(size) if size else None, name)


def _be_quiet() -> None:
    """C libraries complain to the terminal about files that we are going to name ourselves."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)


def _cap_memory() -> None:
    statm = Path("/proc/self/statm")
    taken = int(statm.read_text().split()[0]) * resource.getpagesize() if statm.exists() else 0
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    cap = taken + validate.MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (cap if hard == resource.RLIM_INFINITY else min(cap, hard), hard))


def _send(pipe: int, message: bytes) -> None:
    left = memoryview(struct.pack("<I", len(message)) + message)
    while left:
        left = left[os.write(pipe, left) :]


def _receive(pipe: IO[bytes]) -> bytes:
    """The next message; nothing when the other side has gone."""
    header = pipe.read(4)
    return pipe.read(struct.unpack("<I", header)[0]) if len(header) == 4 else b""


class LostError(Exception):
    """A child did not answer. What it did instead, in a word, is the argument."""


class Child:
    """A decoding process, and its successor whenever it is lost."""

    def __init__(self, command: Sequence[str] = COMMAND, seconds: float = SECONDS):
        self.command, self.seconds, self.ended = command, seconds, False
        self._start()

    def judge(self, places: Sequence[ByteRange]) -> Iterator[Verdict]:
        """A verdict on each place, in order; a file that costs two children is rejected for that, and no other."""
        left, asked, again = places, False, False
        while left and not self.ended:
            try:
                if not asked:
                    self._ask(left[:1] if again else left)
                verdict, asked, again = Verdict(*json.loads(self._answer(self.seconds))), not again, False
            except LostError as lost:
                verdict, asked, again = self._replace(str(lost)), False, not again
                if again:  # somebody else may have ended it: the file is looked at once more, by a child of its own
                    continue
            left = left[1:]
            yield verdict

    def end(self) -> None:
        """No more of it: `judge`, in whichever thread it is, comes back."""
        self.ended = True
        self._kill()

    def close(self) -> None:
        """Once nobody reads from it."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()

    def _start(self) -> None:
        home = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
        self.fresh = True
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
            process_group=0,  # so that a terminal's Ctrl-C does not reach it before it can ignore it
        )

    def _ask(self, places: Sequence[ByteRange]) -> None:
        if self.fresh:
            self._wait_until_ready()
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):  # seen when the answer does not come
            _send(self.process.stdin.fileno(), _request(places))

    def _wait_until_ready(self) -> None:
        """One that is killed, or hangs, as it starts is started again; one that ends by itself would do so again."""
        for attempt in range(STARTS):
            try:
                self.fresh = self._answer(START_SECONDS) != READY
                return
            except LostError as lost:
                self._kill()
                code = self.process.returncode
                if self.ended:
                    return
                if code >= 0 or attempt == STARTS - 1:
                    what = f"the process that decodes images can't be started: {lost}, exit code {code}"
                    raise ResourceError(
                        f"{what}. Try `{shlex.join(self.command)}`: it should wait in silence"
                    ) from lost
            self.close()
            self._start()

    def _answer(self, seconds: float) -> bytes:
        deadline = time.monotonic() + seconds
        return self._read(struct.unpack("<I", self._read(4, deadline))[0], deadline)

    def _read(self, n: int, deadline: float) -> bytes:
        assert self.process.stdout
        handle, got = self.process.stdout.fileno(), b""
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        while len(got) < n:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise LostError("timeout")
            if not (more := os.read(handle, n - len(got))):
                raise LostError("decoder_crashed")
            got += more
        return got

    def _replace(self, reason: str) -> Verdict:
        """Another process in the place of this one; what to say of the file that it was at."""
        self._kill()
        self.close()
        code = self.process.returncode
        self._start()
        return Verdict(
            reason=reason, detail=f"exit code {code}" if reason == "decoder_crashed" else f"{self.seconds:g} s"
        )

    def _kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Worker(threading.Thread):
    """A thread that has one child judge batches of places until none is left."""

    def __init__(self, batches: "Batches", answers: "Answers", child: Child):
        super().__init__(daemon=True)
        self.batches, self.answers, self.child = batches, answers, child

    def run(self) -> None:
        try:
            while not self.child.ended:
                batch = self.batches.get_nowait()
                for place, verdict in zip(batch, self.child.judge(batch)):
                    self.answers.put((place, verdict))
        except queue.Empty:
            pass
        except Exception as error:
            self.answers.put(error)
        finally:
            self.child.end()


Batches = queue.SimpleQueue[Sequence[ByteRange]]
Answers = queue.SimpleQueue[tuple[ByteRange, Verdict] | Exception]


def judged(
    places: Sequence[ByteRange], *, workers: int, command: Sequence[str] = COMMAND, seconds: float = SECONDS
) -> Generator[tuple[ByteRange, Verdict], None, None]:
    """Each place with its verdict, in the order in which they come from `threads` children."""
    batches, answers = Batches(), Answers()
    for start in range(0, len(places), BATCH):
        batches.put(places[start : start + BATCH])
    running = [Worker(batches, answers, Child(command, seconds)) for _ in range(min(workers, batches.qsize()))]
    try:
        for worker in running:
            worker.start()
        for _ in places:
            answer = answers.get()
            if isinstance(answer, Exception):
                raise answer
            yield answer
    finally:
        for worker in running:
            worker.child.end()
            if worker.ident:
                worker.join()
            worker.child.close()


if __name__ == "__main__":
    serve()
