"""The teachers' features of each image's center view, computed once and kept on disk while a student learns from them."""

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float16, Float32, Int64
from numpy.lib.format import dtype_to_descr, open_memmap, write_array_header_1_0
from torch import Tensor

from .. import dist, failpoints
from ..data.pixels.pixels import Pixels
from ..files.atomic import atomic_write
from ..files.integrity import mismatches, sha256, write_json
from ..log import part_of, warning
from ..machine import Machine
from ..nets.teacher import Teacher
from ..nets.trained import InputSpec
from .encode import encode

CHUNK = 65536  # images whose features are in memory at a time
HALF = np.dtype(np.float16)


@dataclass(frozen=True)
class AssignedTeacher:
    """A teacher and the positions of its images: all images for the base, those of one cluster for an expert.

    `features` are the raw features of these images at the teacher's layer, if they are known already.
    """

    teacher: Teacher
    positions: Int64[np.ndarray, "n"]
    features: Float[Tensor, "n d"] | None = None


class TeacherTargets:
    """The targets of each image on disk: the base's features and those of the image's own expert, as float16."""

    def __init__(self, targets: Float16[np.ndarray, "n 2 d"]):
        self.targets = targets

    def __call__(self, index: Int64[Tensor, "b"]) -> Float[Tensor, "b 2 d"]:
        """Return the targets of the images at these positions, in float32 on the device of `index`."""
        return torch.from_numpy(self.targets[index.cpu().numpy()]).to(index.device).float()


def cache_targets(
    file: Path, teachers: Sequence[AssignedTeacher], input_spec: InputSpec, pixels: Pixels, machine: Machine
) -> TeacherTargets:
    """Open the file of targets; compute it first if it is missing or damaged.

    The first teacher is the base, the others are the experts. A JSON file beside it keeps its hash.
    """
    if not dist.on_leader(lambda: _are_there(file)):
        shape = (len(pixels), 2, teachers[0].teacher.dim)
        with atomic_write(file) if dist.is_leader() else contextlib.nullcontext() as part:
            targets = allocate(part, shape) if part else None
            for number, teacher in enumerate(teachers):
                for positions, features in _each_block(teacher, input_spec, pixels, machine):
                    if targets is not None:
                        targets[positions, min(number, 1)] = features
                failpoints.at("teachers.some")
            if targets is not None:
                targets.flush()
        dist.on_leader(lambda: write_json(file.with_suffix(".json"), {"sha256": {file.name: sha256(file)}}))
    return TeacherTargets(np.load(file, mmap_mode="r"))


def _are_there(file: Path) -> bool:
    """True if the file is as its manifest says; a damaged one gives a warning."""
    manifest = file.with_suffix(".json")
    if damage := mismatches(manifest) if manifest.exists() else []:
        warning(f"{'; '.join(damage)}. The teachers compute their targets again")
    return manifest.exists() and not damage


def allocate(
    file: Path, shape: tuple[int, ...], dtype: "np.dtype[Any]" = HALF
) -> "np.memmap[tuple[int, ...], np.dtype[Any]]":
    """Create a memory-mapped array, by default of float16, whose disk space is reserved.

    Without the reservation, a disk that fills up later would kill the process at a write to the array.
    """
    with file.open("wb") as out:
        write_array_header_1_0(out, {"descr": dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
        out.flush()
        os.posix_fallocate(out.fileno(), out.tell(), dtype.itemsize * math.prod(shape))
    return open_memmap(file, "r+")


def _each_block(
    assigned: AssignedTeacher, input_spec: InputSpec, pixels: Pixels, machine: Machine
) -> Iterator[tuple[Int64[np.ndarray, "b"], Float32[np.ndarray, "b d"]]]:
    """Yield the positions of the teacher's own images, block by block, and its normalized features of them. All ranks encode
    together."""
    teacher = assigned.teacher
    for begin in range(0, len(assigned.positions), CHUNK):
        chunk = slice(begin, begin + CHUNK)
        positions = assigned.positions[chunk]
        if assigned.features is None:
            with part_of(begin, len(assigned.positions)):
                features = encode(teacher.net, input_spec, pixels, machine, layer=teacher.layer, positions=positions)
        else:
            features = assigned.features[chunk]
        yield positions, teacher.normalize(features.to(teacher.mean.device)).cpu().numpy()
