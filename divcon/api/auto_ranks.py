"""The number of ranks that a run on this machine is worth: one for each GPU; on CPUs what a measurement finds fastest."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ..log import info
from ..machine import Machine, machine_name, measured_once
from ..pipelines.recipe import Recipe
from ..runs.recorder import PlannedStage
from ..stages.learning import NetworkTraining, TrainingPlan
from .memory import machine_bytes
from .processes import rank_environment, shared_folder, started
from .work import images_shown

LONG = 30_000  # images of 32 pixels: shorter runs are done before several processes have begun
MIN_GAIN = 1.1  # times as fast as one process: less may be noise, and costs memory
MEMORY = 2**31  # bytes that a rank needs at least
FILE = "ranks.json"
SECONDS = 120  # that a measurement may take


def with_auto_ranks(machine: Machine, recipe: Recipe, stages: Sequence[PlannedStage], cache: Path) -> Machine:
    """Return the machine with as many ranks as make a new run fastest, and the threads that each of them has then."""
    possible = [ranks for ranks in _candidates(machine) if _can_share(recipe, ranks)]
    if not possible or _images_of_32_pixels(stages) < LONG:
        return machine
    if machine.device != "cpu":
        return replace(machine, ranks=possible[0])
    speeds = _measured(machine, [1, *possible], cache)
    fastest = max(speeds, key=lambda ranks: speeds[ranks])
    if speeds[fastest] < MIN_GAIN * speeds[1]:
        return machine
    info(
        f"ranks {fastest}: so many processes are {speeds[fastest] / speeds[1]:.1f} times as fast as one; ranks=1 forgoes them"
    )
    return replace(machine, ranks=fastest, compute_threads=machine.compute_threads // fastest)


def _candidates(machine: Machine) -> list[int]:
    """The numbers of ranks to try, the largest first: the cores, or the GPUs, and their half and quarter."""
    if machine.device == "cuda":
        most = torch.cuda.device_count()
    elif machine.device == "cpu":
        most = min(machine.compute_threads, machine_bytes() // MEMORY)
    else:
        most = 1
    return [ranks for ranks in (most, most // 2, most // 4) if ranks > 1]


def _can_share(recipe: Recipe, ranks: int) -> bool:
    """True if there is a training for ranks, and so many can share each batch alike."""
    trainings = [training for _, training in recipe.parts(NetworkTraining)]
    return bool(trainings) and all(training.batch_size % ranks == 0 for training in trainings)


def _images_of_32_pixels(stages: Sequence[PlannedStage]) -> float:
    """The images that all trainings show, as if they were 32 pixels wide."""
    plans = [stage.training for stage in stages if isinstance(stage.training, TrainingPlan)]
    return sum(images_shown(plan) * float(plan.recipe.input_spec.size / 32) ** 2 for plan in plans)


def _measured(machine: Machine, numbers: Sequence[int], cache: Path) -> dict[int, float]:
    """The images per second of each number of ranks on this machine, from the cache if they are there."""
    name = f"{machine_name(machine.device)} {machine.precision} {machine.compute_threads}"

    def measure() -> dict[str, float]:
        info("measuring how many processes this machine is worth, once")
        return {str(ranks): speed_of(machine, ranks) for ranks in numbers}

    known = measured_once(cache, FILE, name, measure)
    return {ranks: known.get(str(ranks), 0.0) for ranks in numbers}


def speed_of(machine: Machine, ranks: int) -> float:
    """The images per second of a training step on so many ranks that share the machine's threads; 0 if it can't be measured."""
    threads = machine.compute_threads // ranks
    with shared_folder() as folder, rank_environment(threads):
        command = [
            sys.executable,
            "-m",
            "divcon.api.rank_speed",
            str(os.getpid()),
            str(folder),
            str(ranks),
            machine.precision,
        ]
        commands = [[*command, str(rank)] for rank in range(ranks)]
        with started(commands, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as processes:
            try:
                answers = [process.communicate(timeout=SECONDS)[0] for process in processes]
                return float(answers[0])
            except (subprocess.TimeoutExpired, ValueError):
                return 0.0
