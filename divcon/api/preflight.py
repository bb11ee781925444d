"""Refusals before the first stage, which may take hours, of all that is known to fail in a later one."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from .. import dist
from ..errors import DataError, UsageError
from ..methods.registry import method_named
from ..nets.encoder import build
from ..nets.net import Net, width
from ..nets.recompute import recomputing
from ..nets.trained import Trained
from ..pipelines.clusterfit import ClusterFit
from ..pipelines.dnc import DnC
from ..recipes import Recipe
from ..stages.cluster import Divide
from ..stages.distill import Distillation
from ..stages.learning import FEWEST, NetworkTraining
from ..stages.pretrain import Pretrain
from .encoder_check import placed

Shapes = dict[str, torch.Size]


def refuse_what_fails_later(recipe: Recipe, base: Path | None, n: int, *, asked_for_k: bool) -> None:
    """UsageError or DataError, where options of one stage do not fit those of another, or the number of images."""
    _refuse_too_few(recipe, n, asked_for_k)
    for name, learning in _trainings(recipe):
        _refuse_alone(name, learning)
    if isinstance(recipe, DnC):
        _refuse_misfits(recipe, base)


def _refuse_too_few(recipe: Recipe, n: int, asked_for_k: bool) -> None:
    if n < FEWEST:
        raise DataError(f"{n} images are too few to train on: at least {FEWEST} different ones are needed")
    if not isinstance(recipe, DnC | ClusterFit):
        return
    k, smallest = recipe.clusters.k, recipe.clusters.smallest
    if k > n:
        raise DataError(f"clusters.k={k}, but there are {n} different images; lower it")
    if asked_for_k and k > remaining(recipe.clusters, n):
        raise DataError(
            f"clusters.k={k}, but of {n:,} images at most {_counted(remaining(recipe.clusters, n))} can have "
            f"{smallest:,} (clusters.smallest), and smaller ones are merged; lower one of the two"
        )


def _counted(clusters: int) -> str:
    return f"{clusters:,} cluster{'' if clusters == 1 else 's'}"


def remaining(clusters: Divide, n: int) -> int:
    """As many clusters as can be left once those that are too small are merged."""
    return min(clusters.k, max(1, n // max(1, clusters.smallest)))


def _trainings(recipe: Recipe) -> Iterator[tuple[str, NetworkTraining]]:
    for name in ("base", "expert", "refit", "student"):
        if isinstance(learning := getattr(recipe, name, None), NetworkTraining):
            yield name, learning


def _refuse_alone(name: str, learning: NetworkTraining) -> None:
    """Refuse a training that can't be, whatever the other stages are."""
    if learning.start == "base" and name not in ("expert", "student"):
        raise UsageError(f"{name}.start=base: only experts and students can start from a base")
    if learning.batch_size % dist.world():
        raise UsageError(
            f"{name}.batch_size={learning.batch_size}: it can't be shared by {dist.world()} ranks alike; type a multiple"
        )
    if learning.recompute or learning.encoder.init not in ("random", "timm"):
        with placed(name):
            encoder = build(learning.encoder, learning.input_spec.size)
        if learning.recompute:
            recomputing(encoder, learning.encoder.name)


def _refuse_misfits(recipe: DnC, base: Path | None) -> None:
    """Networks that are to start from the base's, or to teach beside it, and have another shape."""
    if base is None and _alike(recipe.base, recipe.expert, recipe.student):
        return
    theirs = Trained.load(base).net if base is not None else _net("base", recipe.base)
    expert, student, layer = _net("expert", recipe.expert), recipe.student, recipe.student.layer
    if recipe.expert.start == "base":
        _refuse_start("expert", _shapes(theirs), _shapes(expert))
    if layer == "projection" and not theirs.projector_spec.dim:
        raise UsageError(f"student.layer=projection: {recipe.base.method} has none; type student.layer=pool")
    sees = [net.projector_spec.dim if layer == "projection" else width(net.encoder) for net in (theirs, expert)]
    if sees[0] != sees[1]:
        raise UsageError(
            f"the student learns from the base and from experts, but at student.layer={layer} the base gives {sees[0]} "
            f"features and an expert {sees[1]}; give both the same encoder and options"
        )
    if student.start == "base":
        hidden, dim = (theirs.projector_spec.hidden, theirs.projector_spec.dim) if layer == "projection" else (0, 0)
        own = Net(_built("student", student), hidden=hidden, dim=dim)
        _refuse_start("student", _shapes(theirs if layer == "projection" else Net(theirs.encoder)), _shapes(own))


def _alike(base: Pretrain, expert: Pretrain, student: Distillation) -> bool:
    """As they are unless one of them is changed; then nothing has to be built to know it."""
    same = (expert.method, expert.options, expert.encoder) == (base.method, base.options, base.encoder)
    taught = student.layer == "pool" or (student.start == "scratch" and bool(base.options.get("dim")))
    return same and student.encoder == base.encoder and taught


def _net(name: str, learning: Pretrain) -> Net:
    return method_named(learning.method)(_built(name, learning), FEWEST, **learning.options).net


def _built(name: str, learning: NetworkTraining) -> torch.nn.Module:
    with placed(name):
        return build(replace(learning.encoder, init="random"), learning.input_spec.size)


def _shapes(net: Net) -> Shapes:
    return {name: tensor.shape for name, tensor in net.state_dict().items()}


def _refuse_start(name: str, base: Shapes, own: Shapes) -> None:
    for part in sorted({*base, *own}):
        if base.get(part) != own.get(part):
            raise UsageError(
                f"{name}.start=base, but this network has another shape than the base's ({part}); give both the same "
                f"encoder, size and options, or type {name}.start=scratch"
            )
