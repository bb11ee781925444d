"""Decoding in processes that may be killed: whatever a file does to its decoder, the scan goes on."""

import contextlib
import json
import os
import queue
import select
import shlex
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import islice, takewhile
from pathlib import Path

from ...errors import ResourceError
from ..sources.source import ByteRange
from .decode_worker import CHECK_SECONDS, READY, pack, send
from .validate import Verdict

COMMAND = (sys.executable, "-P", "-m", "divcon.data.index.decode_worker")
START_SECONDS = 120.0
MAX_STARTS = 3
# So small that a request with the longest paths and names fits into a pipe, and writing it never blocks.
BATCH = 12

Answers = queue.SimpleQueue[tuple[ByteRange, Verdict] | Exception | None]


class Batches:
    """Batches of byte ranges, which several threads take one after another; none is made before it is wanted."""

    def __init__(self, byte_ranges: Iterable[ByteRange]):
        self.left, self.lock = iter(byte_ranges), threading.Lock()

    def take(self) -> list[ByteRange]:
        """Return the next batch; an empty one at the end."""
        with self.lock:
            return list(islice(self.left, BATCH))


def check_files(
    byte_ranges: Iterable[ByteRange],
    *,
    workers: int,
    command: Sequence[str] = COMMAND,
    seconds: float = CHECK_SECONDS,
) -> Generator[tuple[ByteRange, Verdict], None, None]:
    """Yield each byte range with its verdict, in the order in which `workers` processes finish them.

    A file that takes longer than `seconds`, or crashes its process, is rejected for that.
    """
    batches, answers = Batches(byte_ranges), Answers()
    first = list(takewhile(len, (batches.take() for _ in range(workers))))
    pool = [DecodeWorker(command, seconds) for _ in first]
    threads = [
        threading.Thread(target=_check_batches, args=(worker, batch, batches, answers), daemon=True)
        for worker, batch in zip(pool, first)
    ]
    try:
        for thread in threads:
            thread.start()
        yield from _until_all_end(answers, len(threads))
    finally:
        for worker, thread in zip(pool, threads):
            worker.stop()
            if thread.ident:
                thread.join()
            worker.close()


def _until_all_end(answers: Answers, threads: int) -> Iterator[tuple[ByteRange, Verdict]]:
    """Yield the answers of the threads; each one says None at its end."""
    while threads:
        answer = answers.get()
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            threads -= 1
        else:
            yield answer


def _check_batches(worker: "DecodeWorker", batch: Sequence[ByteRange], batches: Batches, answers: Answers) -> None:
    try:
        while batch and not worker.stopped:
            for byte_range, verdict in zip(batch, worker.check(batch)):
                answers.put((byte_range, verdict))
            batch = batches.take()
    except Exception as error:
        answers.put(error)
    finally:
        worker.stop()
        answers.put(None)


class LostError(Exception):
    """A worker did not answer; the argument is the reason of the verdict: timeout or decoder_crashed."""


class DecodeWorker:
    """A decoding process, which is replaced whenever it is lost."""

    def __init__(self, command: Sequence[str] = COMMAND, seconds: float = CHECK_SECONDS):
        self.command, self.seconds, self.stopped = command, seconds, False
        self._start()

    def check(self, byte_ranges: Sequence[ByteRange]) -> Iterator[Verdict]:
        """Yield a verdict on each byte range, in order; a file that costs two processes is rejected, and no other."""
        left, sent, retrying = byte_ranges, False, False
        while left and not self.stopped:
            try:
                if not sent:
                    self._request(left[:1] if retrying else left)
                verdict, sent, retrying = Verdict(*json.loads(self._answer(self.seconds))), not retrying, False
            except LostError as lost:
                verdict, sent, retrying = self._replace(str(lost)), False, not retrying
                if retrying:  # another program may have killed the process: check the file alone in a new one
                    continue
            left = left[1:]
            yield verdict

    def stop(self) -> None:
        """Kill the process, and let `check` return, in whichever thread it runs."""
        self.stopped = True
        self._kill()

    def close(self) -> None:
        """Close the pipes, once no thread reads from them."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()

    def _start(self) -> None:
        root = str(Path(__file__).parents[3])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        self.starting = True
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
            process_group=0,  # the Ctrl-C of a terminal must not reach it before it ignores it
        )

    def _request(self, byte_ranges: Sequence[ByteRange]) -> None:
        if self.starting:
            self._wait_until_ready()
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):  # noticed when the answer does not come
            send(self.process.stdin.fileno(), pack(byte_ranges))

    def _wait_until_ready(self) -> None:
        """Restart a process that is killed, or hangs, while it starts; one that exits by itself would do so again."""
        for attempt in range(MAX_STARTS):
            try:
                self.starting = self._answer(START_SECONDS) != READY
                return
            except LostError as lost:
                self._kill()
                code = self.process.returncode
                if self.stopped:
                    return
                if code >= 0 or attempt == MAX_STARTS - 1:
                    raise ResourceError(
                        f"the process that decodes images can't be started: {lost}, exit code {code}. Try "
                        f"`{shlex.join(self.command)}`: it should wait in silence"
                    ) from lost
            self.close()
            self._start()

    def _answer(self, seconds: float) -> bytes:
        deadline = time.monotonic() + seconds
        return self._read(struct.unpack("<I", self._read(4, deadline))[0], deadline)

    def _read(self, n: int, deadline: float) -> bytes:
        assert self.process.stdout
        descriptor, data = self.process.stdout.fileno(), b""
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while len(data) < n:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise LostError("timeout")
            if not (more := os.read(descriptor, n - len(data))):
                raise LostError("decoder_crashed")
            data += more
        return data

    def _replace(self, reason: str) -> Verdict:
        """Start another process in place of this one; return the verdict on the file that it was checking."""
        self._kill()
        self.close()
        code = self.process.returncode
        self._start()
        detail = f"exit code {code}" if reason == "decoder_crashed" else f"{self.seconds:g} s"
        return Verdict(reason=reason, detail=detail)

    def _kill(self) -> None:
        self.process.kill()
        self.process.wait()
