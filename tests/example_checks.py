"""Checks for test_gpu.py. This module imports little: each check runs in a new process."""

import os
import time

from benchmarks.gpu.checks import Notes


def fails(notes: Notes) -> None:
    notes.put(a=1)
    notes.claim("two is at most one", 2, at_most=1)


def breaks(notes: Notes) -> None:
    notes.put(a=1)
    raise ValueError("no such thing")


def lasts(notes: Notes) -> None:
    notes.put(a=1)
    time.sleep(60)


def dies(notes: Notes) -> None:
    os.kill(os.getpid(), 9)
