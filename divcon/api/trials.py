"""Try each kind of stage of a run: in this process, or in as many as the run is to have."""

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import dist, signals
from ..config import to_json_value, validate_fields
from ..data.pixels.pixels import Pixels
from ..errors import LostError, from_json
from ..files.integrity import read_json, write_json
from ..files.paths import Data, absolute_paths
from ..runs.recorder import PlannedStage
from ..stages.learning import EncodingPlan, NetworkTraining, TrainingPlan
from .memory import private_bytes
from .processes import rank_environment, shared_folder, started
from .run_plan import RunPlan
from .trial import Amount, Trial, try_encoding, try_pixels, try_training

CALL, ANSWER = "call.json", "answer-{}.json"  # files by which this process and the ranks talk

NO_TIME = Amount()


@dataclass(frozen=True)
class Trials:
    """The trials of the first stage of each group, by its name; the time to decode an image, and that to `start` the ranks;
    the bytes that a rank holds while it waits, and those of the process that starts the ranks."""

    stages: dict[str, Trial]
    pixel: Amount
    start: Amount = NO_TIME
    waiting: float = 0.0
    launcher: float = 0.0


def try_stages(run_plan: RunPlan, groups: Sequence[str]) -> Trials:
    """Try the first stage of each group in this process. All ranks call this together."""
    machine, waiting = run_plan.machine, private_bytes()
    pixels, each = try_pixels(
        run_plan.images, run_plan.recipe.base.input_spec, run_plan.cache_gb, run_plan.machine.workers
    )
    firsts = {group: next(s for s in run_plan.stages if s.group == group) for group in groups}
    known: list[tuple[object, Trial]] = []
    found = {}
    for group, stage in firsts.items():
        with dist.split(f"trial-{group}", machine.expert_ranks if "/" in stage.name else machine.ranks):
            found[group] = _once(known, stage, pixels, run_plan)
    return Trials(found, each, waiting=waiting)


def _once(known: list[tuple[object, Trial]], stage: PlannedStage, pixels: Pixels, run_plan: RunPlan) -> Trial:
    """The trial of a stage, or that of another one whose step is the same."""
    shape = _shape(stage)
    for other, trial in known:
        if shape is not None and other == shape:
            return trial
    if isinstance(stage.encoding, EncodingPlan):
        trial = try_encoding(stage.encoding, pixels, run_plan.machine)
    else:
        assert isinstance(stage.training, TrainingPlan)
        plan = stage.training if stage.training.by_leader else stage.training.on_ranks(dist.world_size())
        trial = try_training(plan, pixels, run_plan.machine)
    known.append((shape, trial))
    return trial


def _shape(stage: PlannedStage) -> object:
    """All that the cost of a step depends on: the recipe without its length and its rates, and the ranks."""
    if not isinstance(stage.training, TrainingPlan) or not isinstance(stage.training.recipe, NetworkTraining):
        return None
    recipe = stage.training.on_ranks(dist.world_size()).recipe
    return dist.world_size(), dataclasses.replace(
        recipe, samples_seen=1.0, lr=1.0, warmup=0.0, drops=None, seed=0, cycles=1, start="scratch"
    )


def try_on_ranks(run_plan: RunPlan, data: Data, options: Mapping[str, Any], groups: Sequence[str]) -> Trials:
    """Try the first stage of each group in the processes that the run will have. Raises the error of the first one that fails."""
    machine = run_plan.machine
    with signals.deferred_signals(), shared_folder() as folder, rank_environment(machine.compute_threads):
        begin = time.time()
        run_plan.images.save_index(folder / "images")
        asked = {"data": absolute_paths(data), "out": str(run_plan.folder), "options": dict(options)}
        write_json(folder / CALL, {**asked, "groups": list(groups), "machine": to_json_value(machine), "begin": begin})
        command = [sys.executable, "-m", "divcon.api.trial_process", str(folder), str(os.getpid())]
        commands = [[*command, str(rank)] for rank in range(machine.ranks)]
        with started(commands, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as ranks:
            _wait(ranks)
        answers = [read_json(path) for rank in range(machine.ranks) if (path := folder / ANSWER.format(rank)).exists()]
    for answer in answers:
        if "error" in answer:
            raise from_json(answer)
    if len(answers) < machine.ranks:
        raise LostError("a rank ended without a word while its steps were timed; type the same command again")
    return dataclasses.replace(validate_fields(Trials, answers[0]), launcher=private_bytes())


def _wait(processes: "Sequence[subprocess.Popen[str]]") -> None:
    """Wait until all have ended, or one has failed."""
    while any(process.poll() is None for process in processes):
        if any(process.returncode for process in processes):
            return
        signals.stop_if_requested("a plan saves nothing")
        time.sleep(0.05)
