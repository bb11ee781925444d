"""Train a student to predict the features of its teachers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, PositiveInt

from ..clustering.clusters import Clusters
from ..config import LATER
from ..data.images import Images
from ..files.integrity import digest
from ..methods.contract import Method, Share
from ..methods.distill import Distill
from ..methods.registry import check_learns_alone, checked_options, method_named
from ..nets.fast_small_maps import with_fast_small_maps
from ..nets.fold_batch_norm import fold_batch_norms
from ..nets.net import Net, width
from ..nets.teacher import Teacher
from ..nets.trained import InputSpec, Trained
from ..runs.folder import TARGETS
from ..runs.recorder import Plan, planned_by
from ..runs.stage import Result, StageContext
from ..train.encode import encode
from ..train.target_cache import AssignedTeacher, TeacherTargets, cache_targets
from .learning import MakeMethod, NetworkTraining, pixels_of, plan_network, sample, train_network
from .pretrain import Pretrain

USUAL = 65536  # images, at most, that the mean and spread of a teacher's features are taken over
HALF = 2  # bytes of a number in half precision
TeacherLayer = Literal["projection", "pool"]
Targets = Callable[[torch.Tensor], torch.Tensor]  # from positions to the features of base and expert


@dataclass(frozen=True, kw_only=True)
class Distillation(NetworkTraining):
    """The recipe of the student's training.

    `layer` is the layer at which the student meets its teachers. Teachers see the `same` view as the student, or always the
    `center` one, and then each image once in all (DnC table 11). `hidden` is the width of the regression heads, `base_share`
    the base's share of the loss. `own` is the weight of a loss of the student's own beside its teachers' (ours; 0 in the paper):
    the one of `method` with its `options`, which are the base's where no other method is named."""

    layer: TeacherLayer = "projection"
    teacher_view: Literal["same", "center"] = "same"
    hidden: PositiveInt = 4096
    base_share: Share = 0.5
    own: NonNegativeFloat = field(default=0.0, metadata=LATER)
    method: str | None = field(default=None, metadata=LATER)
    options: dict[str, Any] = field(default_factory=dict, metadata=LATER)

    def beside(self, base: Pretrain) -> Self:
        """The recipe of a student of such a base: with all options of its own method, or without one if `own` is 0."""
        if not self.own:
            return replace(self, method=None, options={})
        method = self.method or base.method
        check_learns_alone(method)
        options = {**(base.options if method == base.method else {}), **self.options}
        return replace(self, method=method, options=checked_options(method, options))

    def own_method(self, n_images: int) -> MakeMethod:
        """The function that builds the student's own method around an encoder."""
        assert self.own and self.method is not None, "`beside` names the method"
        kind, options = method_named(self.method), self.options
        return lambda encoder: kind(encoder, n_images, **options)

    def method_for(
        self, teachers: Sequence[Teacher], labels: NDArray[np.int64], targets: Targets | None = None
    ) -> MakeMethod:
        """The function that builds the student's method around an encoder; `labels` are the clusters of all images."""
        own, n, clusters = self.own_method(len(labels)) if self.own else None, len(labels), torch.tensor(labels)
        return lambda encoder: Distill(
            encoder,
            n,
            teachers,
            clusters,
            targets,
            own(encoder) if own else None,
            hidden=self.hidden,
            base_share=self.base_share,
            own_weight=self.own,
        )


@dataclass(frozen=True)
class Teachers:
    """The base, the experts in the order of their clusters, and the cluster of each image."""

    base: Trained
    experts: Sequence[Trained]
    clusters: Clusters

    @property
    def fingerprint(self) -> str:
        models = " ".join(model.fingerprint for model in (self.base, *self.experts))
        return digest(f"{models} {self.clusters.fingerprint}")

    def with_positions(self) -> list[tuple[Trained, NDArray[np.int64]]]:
        """The base with the positions of all images, and each expert with those of its cluster."""
        everything = np.arange(len(self.clusters.labels))
        return [(self.base, everything), *zip(self.experts, self.clusters.members(), strict=True)]


def plan_distill(teachers: Teachers, images: Images, recipe: Distillation) -> Plan[Trained]:
    """The plan of `distill`. Its teachers have the weights of networks that are not trained yet, and one expert stands for all:
    what the others hold is added. Targets of two teachers for each image are kept, where the teachers' view never changes."""
    center, n = recipe.teacher_view == "center", len(images)
    sampled = 0 if recipe.layer == "projection" else sum(min(len(at), USUAL) for _, at in teachers.with_positions())
    features = features_at(recipe.layer, teachers.base.net) if center else 0
    return plan_network(
        images,
        recipe,
        lambda encoder: _untrained_student(encoder, teachers, recipe),
        encoded=2 * n if center else sampled,
        held_networks=2 * (len(teachers.experts) - 1),  # each as it was trained, and folded
        extra_bytes=2.0 * n * HALF * features,
    )


def _untrained_student(encoder: torch.nn.Module, teachers: Teachers, recipe: Distillation) -> Method:
    """The method of a student, with teachers of random weights."""
    size, dim = recipe.input_spec.size, features_at(recipe.layer, teachers.base.net)
    rows = None if recipe.layer == "projection" else torch.eye(2, dim)
    base, expert = (
        Teacher(with_fast_small_maps(fold_batch_norms(model.net, size)), recipe.layer, rows)
        for model in (teachers.base, teachers.experts[0])
    )
    targets = torch.zeros(1, 2, dim)
    kept = (lambda positions: targets.expand(len(positions), -1, -1)) if recipe.teacher_view == "center" else None
    return recipe.method_for([base, *[expert] * len(teachers.experts)], teachers.clusters.labels, kept)(encoder)


def features_at(layer: TeacherLayer, net: Net) -> int:
    """The number of features that a teacher has at the layer."""
    return net.projector_spec.dim if layer == "projection" else width(net.encoder)


@planned_by(plan_distill)
def distill(context: StageContext, teachers: Teachers, images: Images, recipe: Distillation) -> Result[Trained]:
    """Train a student to predict the features of its teachers."""
    assigned = [
        _assigned_teacher(context, model, images.subset(positions), positions, recipe.layer)
        for model, positions in teachers.with_positions()
    ]
    center = recipe.teacher_view == "center"
    targets = _cached_targets(context, assigned, images, teachers.base.input_spec) if center else None
    method = recipe.method_for([each.teacher for each in assigned], teachers.clusters.labels, targets)
    return train_network(context, images, recipe, method, teachers.base)


def _assigned_teacher(
    context: StageContext,
    model: Trained,
    images: Images,
    positions: NDArray[np.int64],
    layer: TeacherLayer,
) -> AssignedTeacher:
    """The model as a teacher of these images; `positions` are theirs in the whole collection."""
    net = (
        with_fast_small_maps(fold_batch_norms(model.net, model.input_spec.size))
        if context.machine.fast_small_maps
        else model.net
    )
    if layer == "projection":
        return AssignedTeacher(context.machine.to_device(Teacher(net)), positions)
    pixels, some = pixels_of(context, images, model.input_spec), sample(len(images), USUAL, 0)
    features = encode(net, model.input_spec, pixels, context.machine, layer=layer, positions=some)
    teacher = context.machine.to_device(Teacher(net, layer, features))
    return AssignedTeacher(teacher, positions, features if len(some) == len(positions) else None)


def _cached_targets(
    context: StageContext, assigned: Sequence[AssignedTeacher], images: Images, input_spec: InputSpec
) -> TeacherTargets:
    """The features that each teacher gives of the center views of its images, from a file in the stage's folder."""
    return cache_targets(
        context.folder / TARGETS, assigned, input_spec, pixels_of(context, images, input_spec), context.machine
    )
