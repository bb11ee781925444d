"""What teachers say of each image's center view, computed once and kept on disk while a student learns from it."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float16, Int64
from numpy.lib.format import open_memmap, write_array_header_1_0
from torch import Tensor

from .. import failpoints
from ..data.pixels.pixels import Pixels
from ..files.atomic import atomic_write
from ..files.integrity import mismatches, sha256, write_json
from ..log import warning
from ..machine import Machine
from ..nets.teacher import Teacher
from ..nets.trained import InputSpec
from .encode import encode

PIECE = 65536  # images whose features are in memory at a time


@dataclass(frozen=True)
class AssignedTeacher:
    """A teacher, the positions of the images it has something to say of, and what its net saw there, if that is known."""

    teacher: Teacher
    positions: Int64[np.ndarray, "n"]
    seen: Float[Tensor, "n d"] | None = None


class TeacherTargets:
    """For each image, what the base says and what its own expert says: 4 bytes a feature and image, on disk."""

    def __init__(self, rows: Float16[np.ndarray, "n 2 d"]):
        self.rows = rows

    def __call__(self, index: Int64[Tensor, "b"]) -> Float[Tensor, "b 2 d"]:
        return torch.from_numpy(self.rows[index.cpu().numpy()]).to(index.device).float()


def cache_targets(
    file: Path, lessons: Sequence[AssignedTeacher], input_spec: InputSpec, pixels: Pixels, machine: Machine
) -> TeacherTargets:
    """The file, filled if it is not there yet, or not as it was made: by the first teacher, of all images, and by the
    others, of their own."""
    manifest = file.with_suffix(".json")
    wrong = mismatches(manifest) if manifest.exists() else []
    if wrong:
        warning(f"{'; '.join(wrong)}. The teachers are asked again")
    if wrong or not manifest.exists():
        with atomic_write(file) as part:
            rows = reserved(part, (len(pixels), 2, lessons[0].teacher.dim))
            for number, lesson in enumerate(lessons):
                _fill(rows[:, min(number, 1)], lesson, input_spec, pixels, machine)
                failpoints.at("teachers.some")
            rows.flush()
        write_json(manifest, {"sha256": {file.name: sha256(file)}})
    return TeacherTargets(np.load(file, mmap_mode="r"))


def reserved(file: Path, shape: tuple[int, ...]) -> "np.memmap[Any, np.dtype[np.float16]]":
    """A mapped array of float16, its room taken at once: a disk that fills up later would kill us at a write to it."""
    with file.open("wb") as out:
        header = {"descr": "<f2", "fortran_order": False, "shape": shape}
        write_array_header_1_0(out, header)
        out.flush()
        os.posix_fallocate(out.fileno(), out.tell(), 2 * math.prod(shape))
    return open_memmap(file, "r+")


def _fill(
    rows: Float16[np.ndarray, "n d"], lesson: AssignedTeacher, input_spec: InputSpec, pixels: Pixels, machine: Machine
) -> None:
    teacher = lesson.teacher
    for begin in range(0, len(lesson.positions), PIECE):
        at = lesson.positions[begin : begin + PIECE]
        if lesson.seen is None:
            seen = encode(teacher.net, input_spec, pixels, machine, layer=teacher.layer, positions=at)
        else:
            seen = lesson.seen[begin : begin + PIECE]
        rows[at] = teacher.standardized(seen.to(teacher.mean.device)).cpu().numpy()
