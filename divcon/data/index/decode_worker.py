"""The process that decodes images for a scan; the scan kills it when a file makes it hang or crash (worker_pool.py).

    scan -> worker   byte ranges, each as four fields; all fields are joined by NUL
    worker -> scan   "ready" at its start; then for each byte range, in order, a verdict as JSON

Each message follows its length in four bytes. The worker ends when its input closes.
"""

import json
import os
import resource
import signal
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from ..decoding import formats
from ..sources.source import ByteRange
from . import validate
from .validate import Verdict, check_file

READY = b"ready"
CHECK_SECONDS = 30.0


def serve(check: Callable[[ByteRange], Verdict] = check_file) -> None:
    """Answer requests on standard input until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the scan answers Ctrl-C
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # nobody is left to answer: end in silence
    requests, answers = os.fdopen(os.dup(0), "rb"), os.dup(1)
    send(answers, READY)
    _silence_libraries()
    _limit_memory()
    formats.use_one_thread()
    while request := _receive(requests):
        for byte_range in _unpack(request):
            signal.alarm(int(4 * CHECK_SECONDS))  # a scan that was killed can't end a decoder that hangs
            send(answers, json.dumps(check(byte_range)).encode())
            signal.alarm(0)


def pack(byte_ranges: Sequence[ByteRange]) -> bytes:
    """Return a request: no path and no name has a NUL in it."""
    fields = ((r.file, b"%d" % r.offset, b"" if r.size is None else b"%d" % r.size, r.name) for r in byte_ranges)
    return b"\0".join(field for byte_range in fields for field in byte_range)


def _unpack(request: bytes) -> Iterator[ByteRange]:
    fields = iter(request.split(b"\0"))
    for file, offset, size, name in zip(fields, fields, fields, fields):
        yield ByteRange(file, int(offset), int(size) if size else None, name)


def send(pipe: int, message: bytes) -> None:
    """Write a message and its length to a file descriptor."""
    left = memoryview(struct.pack("<I", len(message)) + message)
    while left:
        left = left[os.write(pipe, left) :]


def _receive(pipe: IO[bytes]) -> bytes:
    """Return the next message, or nothing when the other side has closed the pipe."""
    header = pipe.read(4)
    return pipe.read(struct.unpack("<I", header)[0]) if len(header) == 4 else b""


def _silence_libraries() -> None:
    """Close the terminal to C libraries: they complain about files that the scan reports itself."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)


def _limit_memory() -> None:
    statm = Path("/proc/self/statm")
    used = int(statm.read_text().split()[0]) * resource.getpagesize() if statm.exists() else 0
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = used + validate.MAX_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


if __name__ == "__main__":
    serve()
