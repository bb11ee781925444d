"""The memory of this process and of this machine."""

import os
import re
import sys
import threading
from pathlib import Path
from typing import Self

from ..train.metrics import peak_rss_mb

STATUS = Path("/proc/self/status")
LOOKS = 0.005  # seconds between two looks


class PeakMemory:
    """The most memory of this process while the block runs, in bytes: `before` the block, and `most` in it.

    On Linux it is the memory that belongs to no file: pages of mapped files, like the pixel cache and the libraries, are
    given back when memory is short. Elsewhere it is the most that the process has had so far.
    """

    def __enter__(self) -> Self:
        self.before = self.most = private_bytes()
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def _watch(self) -> None:
        while not self._over.wait(LOOKS):
            self.most = max(self.most, private_bytes())

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watcher.join()
        self.most = max(self.most, private_bytes())


def private_bytes() -> int:
    """The bytes of this process's memory that belong to no file."""
    if sys.platform != "linux":
        return round(peak_rss_mb() * 2**20)
    found = re.search(r"^RssAnon:\s*(\d+) kB", STATUS.read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else round(peak_rss_mb() * 2**20)


def machine_bytes() -> int:
    """The memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
