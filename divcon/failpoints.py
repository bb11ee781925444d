"""Places where a process can be made to die on the spot, as by a power cut: what is promised of kills is tried there.

DIVCON_FAULT=stage.saved divcon run photos/ out=runs/photos      dies when it first comes there
DIVCON_FAULT=stage.saved:3 divcon run ...                        dies when it comes there for the third time
DIVCON_FAULT=list divcon run ...                                 names the places, and does nothing else
"""

import os
import signal

VARIABLE = "DIVCON_FAULT"
POINTS = {
    "run.described": "run.json is written, what the collection holds is not",
    "lock.written": "the lock's content is written, under a name of its own",
    "lock.taken": "the folder is owned, and nothing else was done",
    "lock.aside": "a dead owner's lock is moved aside, and not deleted",
    "lock.freed": "the work is done and the lock is gone",
    "file.begun": "nothing of a file is written",
    "file.written": "a file is written under a passing name, perhaps not to the disk",
    "file.synced": "a file is on the disk, under its passing name",
    "file.renamed": "a file has its name, perhaps not on the disk",
    "scan.listed": "the folder was listed, no file was opened",
    "scan.checked": "some files were decoded, none is remembered",
    "pixels.reserved": "the pixel cache has its room and no picture",
    "pixels.decoded": "a block of pictures is decoded, and not listed",
    "pixels.listed": "a block of pictures is listed as decoded",
    "pixels.sealed": "the pixel cache is complete, under a passing name",
    "pixels.published": "the pixel cache has its name",
    "stage.clearing": "what an earlier attempt left is being removed",
    "stage.begun": "state.json says that the stage is running",
    "stage.made": "the result is there, in memory",
    "stage.saved": "the result's files are written, stage.json is not",
    "stage.done": "stage.json is written, checkpoints are still there",
    "stage.tidied": "the stage is done and tidied up, its folder still owned",
    "train.stepped": "a step has moved the weights, nothing is logged",
    "train.logged": "a line of metrics.jsonl is written",
    "checkpoint.begun": "a checkpoint's folder is made, and empty",
    "checkpoint.half": "a checkpoint has its weights, not the optimizer's state",
    "checkpoint.sealed": "a checkpoint is complete, under a passing name",
    "checkpoint.replacing": "a checkpoint is complete, and one of the same step that was damaged is gone",
    "checkpoint.committed": "a checkpoint has its name, older ones are still there",
    "checkpoint.pruned": "older checkpoints are removed",
    "factors.stepped": "a step has changed the factors, nothing is logged",
    "factors.kept": "the factors so far are kept, state.json is of the step before",
    "divide.seen": "the base has seen the sample, no centroid is fitted",
    "divide.fitted": "the centroids are fitted, no image is assigned",
    "divide.assigned": "every image has its cluster, nothing is written",
    "compare.some": "one expert is compared with the base",
    "teachers.some": "one teacher's answers are written down",
    "redo.removing": "stages that are to be forgotten are being removed",
}

_passed = dict.fromkeys(POINTS, 0)


def asked() -> tuple[str, int]:
    """The place to die at, and at which passing; an empty name where none is asked for."""
    name, _, count = os.environ.get(VARIABLE, "").partition(":")
    return name, int(count) if count.isascii() and count.isdigit() else int(not count)


def at(name: str) -> None:
    """Die here, without another word, if that is asked for."""
    _passed[name] += 1
    if (name, _passed[name]) == asked():
        os.kill(os.getpid(), signal.SIGKILL)


def told() -> str:
    """Every place with what is true there."""
    width = max(len(name) for name in POINTS)
    return "\n".join(f"{name:<{width}}  {what}" for name, what in POINTS.items())


def missed() -> str:
    """What to say at the end of a command that never came to the place it was to die at; else nothing."""
    name, count = asked()
    if name not in POINTS or _passed[name] >= count:
        return ""
    return f"{VARIABLE}={name}:{count} was never reached: this command passed there {_passed[name]} times"
