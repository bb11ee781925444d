"""The cost of a finished run: images seen, FLOPs and seconds, of all stages together.

The FLOPs of a training are those of an image in one of its steps (`flops.py`), times the images seen. A pass over the collection
(for clusters, for the targets of teachers, for a method that clusters between epochs) adds a forward pass of each image. K-means,
the checks and the fit of a whitening are not counted.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import torch
from torch import Tensor

from ..clustering.clusters import Clusters
from ..config import validate_fields
from ..errors import Error
from ..files.integrity import read_json
from ..files.text import printable
from ..nets.net import Layer, Net
from ..nets.teacher import Teacher
from ..nets.trained import Trained
from ..runs.folder import RunFolder, StageFolder
from ..runs.json_files import load_record
from ..runs.recorder import PLANS
from ..runs.records import RunRecord, StageRecord, run_record
from ..stages.classify import Classification
from ..stages.cluster import Divide
from ..stages.distill import Distillation, features_at
from ..stages.learning import MakeMethod, NetworkTraining
from ..stages.pretrain import Pretrain
from .flops import encode_passes, forward_flops, random_encoder, step_flops

FREE = ("check_experts",)  # stages that only measure
FEW = 64  # images: enough to build a method, and to ask whether it encodes its collection


@dataclass(frozen=True)
class Cost:
    """The cost of a run. `flops` is None if not all are known; `unknown` names the stages whose cost is not known, and why."""

    images_seen: int
    flops: float | None
    seconds: float
    unknown: list[str]


@dataclass
class CostCounter:
    """Adds up the costs of runs. A step that was counted is not counted again for a training that differs in seed and length."""

    counted: dict[str, float] = field(default_factory=dict)

    def cost_of(self, run: Path) -> Cost:
        """Return the cost of all stages of a finished run; of one that it took from another run, the cost there."""
        images, flops, seconds, unknown = 0, 0.0, 0.0, list[str]()
        record = run_record(run)
        for name in record.expected_stages():
            stage = load_record(StageRecord, _made_in(RunFolder(run).stage(name)).record)
            images, seconds = images + (stage.summary.images_seen or 0), seconds + stage.seconds
            try:
                flops += self._stage(run, record, stage)
            except (Error, NotImplementedError) as error:
                unknown.append(f"{name} of {printable(run)}: {error}")
        return Cost(images, None if unknown else flops, round(seconds, 1), unknown)

    def _stage(self, run: Path, record: RunRecord, stage: StageRecord) -> float:
        """The FLOPs of a stage; NotImplementedError if they are not known."""
        if "taken" in stage.key:
            raise NotImplementedError("another run made it, which is not there any more")
        if stage.key["do"] in FREE:
            return 0.0
        recipe, n = recipe_of(stage.key), record.used
        if isinstance(recipe, Divide):
            return n * _forward(run / "base", recipe.layer)
        if not isinstance(recipe, NetworkTraining):
            raise NotImplementedError(f"the FLOPs of {stage.key['do']} are not counted")
        seen = stage.summary.images_seen or 0
        passes = encode_passes(recipe, method_of(run, recipe, min(n, FEW)), seen / n)
        encoding = passes and passes * forward_flops(Net(random_encoder(recipe)), recipe.input_spec.size)
        return seen * self._step(run, recipe, n, stage.key) + n * (encoding + _target_flops(run, recipe))

    def _step(self, run: Path, recipe: NetworkTraining, n: int, key: Mapping[str, Any]) -> float:
        name = json.dumps([key["do"], n, {**_recipe_json(key), "samples_seen": 0, "seed": 0}], sort_keys=True)
        if name not in self.counted:
            self.counted[name] = step_flops(recipe, method_of(run, recipe, n))
        return self.counted[name]


def recipe_of(key: Mapping[str, Any]) -> object:
    """Return the recipe that a stage was asked for: the type in its function's signature, with the values in the key."""
    stages: dict[str, Callable[..., object]] = {do.__name__: do for do in PLANS}
    if key["do"] not in stages:
        raise NotImplementedError(f"there is no stage {printable(str(key['do']))} in this version of divcon")
    return validate_fields(get_type_hints(stages[key["do"]])["recipe"], _recipe_json(key))


def method_of(run: Path, recipe: NetworkTraining, n: int) -> MakeMethod:
    """Return what builds the method of a run's training around an encoder, for n images."""
    if isinstance(recipe, Pretrain):
        return recipe.method_for(n)
    has_clusters = RunFolder(run).stage("clusters").is_done
    labels = Clusters.load(run / "clusters").labels if has_clusters else np.zeros(n, np.int64)
    if isinstance(recipe, Classification):
        return recipe.method_for(labels)
    assert isinstance(recipe, Distillation)
    teachers = [_teacher(folder, recipe) for folder in _teacher_folders(run)]

    def targets(positions: Tensor) -> Tensor:
        return torch.zeros(len(positions), 2, teachers[0].dim)

    cached = targets if recipe.teacher_view == "center" else None
    return recipe.method_for(teachers, labels, cached)


def _recipe_json(key: Mapping[str, Any]) -> dict[str, Any]:
    (recipe,) = (argument for argument in key["args"] if isinstance(argument, dict))
    return recipe


def _made_in(stage: StageFolder) -> StageFolder:
    """The folder in which a stage was made: its own, or the one that it was taken from, if that is still there."""
    taken = load_record(StageRecord, stage.record).key.get("taken")
    if taken is None:
        return stage
    source = StageFolder(Path(str(read_json(stage.record)["summary"].get("taken_from"))))
    is_there = source.record.is_file() and Trained.load(source.path).fingerprint == taken
    return _made_in(source) if is_there and source != stage else stage


def _teacher_folders(run: Path) -> list[Path]:
    experts = RunRecord.read(run).groups.get("experts", 0)
    return [run / "base", *(run / "experts" / str(i) for i in range(experts))]


def _teacher(folder: Path, recipe: Distillation) -> Teacher:
    """The teacher of a folder. Its mean and spread, which change no cost, are those of two rows."""
    net = Trained.load(folder).net
    rows = None if recipe.layer == "projection" else torch.eye(2, features_at(recipe.layer, net))
    return Teacher(net, recipe.layer, rows)


def _target_flops(run: Path, recipe: NetworkTraining) -> float:
    """The FLOPs for an image of targets that are computed once: a forward pass of the base and of an expert."""
    if not isinstance(recipe, Distillation) or recipe.teacher_view != "center":
        return 0.0
    return sum(_forward(folder, recipe.layer) for folder in _teacher_folders(run)[:2])


def _forward(folder: Path, layer: Layer) -> float:
    model = Trained.load(folder)
    return forward_flops(model.net, model.input_spec.size, layer)
