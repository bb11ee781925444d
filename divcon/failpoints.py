"""Failpoints: places at which a process can be made to kill itself, as a power cut would, to test what survives.

DIVCON_FAULT=stage.saved divcon run photos/ out=runs/photos      dies at its first visit of that place
DIVCON_FAULT=stage.saved:3 divcon run ...                        dies at its third visit
DIVCON_FAULT=list divcon run ...                                 lists the places, and does nothing else
"""

import os
import signal

VARIABLE = "DIVCON_FAULT"
POINTS = {
    "run.described": "run.json is written, the lists of images are not",
    "lock.written": "the lock file is written, under a temporary name",
    "lock.taken": "the folder is owned, nothing else is done",
    "lock.aside": "the lock of a dead owner is moved aside, not deleted",
    "lock.freed": "the work is done, the lock is removed",
    "file.begun": "a file is about to be written",
    "file.written": "a file is written under a temporary name, perhaps not synced to the disk",
    "file.synced": "a file is on the disk, under its temporary name",
    "file.renamed": "a file has its name, perhaps not synced to the disk",
    "scan.listed": "the folder is listed, no file is opened",
    "scan.checked": "some files are decoded, no result is stored",
    "pixels.reserved": "the pixel cache has its disk space and no picture",
    "pixels.decoded": "a block of pictures is decoded, not yet listed",
    "pixels.listed": "a block of pictures is listed as decoded",
    "pixels.sealed": "the pixel cache is complete, under a temporary name",
    "pixels.published": "the pixel cache has its name",
    "stage.clearing": "the files of an earlier attempt are being removed",
    "stage.begun": "state.json says that the stage is running",
    "stage.made": "the result is in memory, nothing is written",
    "stage.saved": "the result's files are written, stage.json is not",
    "stage.done": "stage.json is written, checkpoints are still there",
    "stage.tidied": "the stage is done and its checkpoints are removed, its folder is still owned",
    "train.stepped": "a step has changed the weights, nothing is logged",
    "train.logged": "a line of metrics.jsonl is written",
    "checkpoint.begun": "the folder of a checkpoint is empty",
    "checkpoint.half": "a checkpoint has its weights, not yet the state of the optimizer",
    "checkpoint.sealed": "a checkpoint is complete, under a temporary name",
    "checkpoint.replacing": "a checkpoint is complete, a damaged one of the same step is removed",
    "checkpoint.committed": "a checkpoint has its name, older ones are still there",
    "checkpoint.pruned": "older checkpoints are removed",
    "factors.stepped": "a step has changed the factors, nothing is logged",
    "factors.kept": "the factors are saved, state.json is of the step before",
    "rows.written": "a part of the features is written, not yet listed",
    "rows.listed": "a part of the features is listed as finished",
    "divide.seen": "the features of the sample are computed, no centroid is fitted",
    "divide.fitted": "the centroids are fitted, no image is assigned",
    "divide.assigned": "every image has a cluster, nothing is written",
    "compare.some": "one expert is compared with the base",
    "teachers.some": "the targets of one teacher are written",
    "redo.removing": "the stages of a redo are being removed",
}

_visits = dict.fromkeys(POINTS, 0)


def requested() -> tuple[str, int]:
    """Return the place and the visit at which to die, from DIVCON_FAULT; the name is empty if there is none.

    The visit is 0 for a text that is no number.
    """
    name, _, visit = os.environ.get(VARIABLE, "").partition(":")
    return name, int(visit) if visit.isascii() and visit.isdigit() else int(not visit)


def at(name: str) -> None:
    """Count a visit of the place `name`, and kill this process if DIVCON_FAULT says so."""
    _visits[name] += 1
    if (name, _visits[name]) == requested():
        os.kill(os.getpid(), signal.SIGKILL)


def describe_points() -> str:
    """Return the names of all places, each with the state of the run there."""
    width = max(len(name) for name in POINTS)
    return "\n".join(f"{name:<{width}}  {state}" for name, state in POINTS.items())


def unreached() -> str:
    """Return a message if the command ended without the visit at which it should have died; else an empty text."""
    name, visit = requested()
    if name not in POINTS or _visits[name] >= visit:
        return ""
    return f"{VARIABLE}={name}:{visit} was never reached: this command passed there {_visits[name]} times"
