"""Refuse, before the first stage, which may take hours, all that is known to fail in a later one."""

from ..errors import DataError, UsageError
from ..files.text import counted_are
from ..machine import Machine
from ..nets.encoder import build
from ..nets.recompute import recomputing
from ..nets.trained import Trained
from ..pipelines.recipe import Recipe
from ..stages.cluster import Divide
from ..stages.learning import FEWEST, NetworkTraining
from .encoder_check import check_encoders, named_in_errors


def refuse_what_fails_later(recipe: Recipe, base: Trained | None, n: int, typed: set[str], machine: Machine) -> None:
    """UsageError or DataError, where options of one stage do not fit those of another, the encoders, or n images.

    `base` is one that another run has trained; `typed` are the options that the user gave.
    """
    if n < FEWEST:
        raise DataError(f"{counted_are(n, 'image')} too few to train on: at least {FEWEST} different ones are needed")
    for name, division in recipe.parts(Divide):
        _refuse_too_many_clusters(name, division, n, asked_for=f"{name}.k" in typed)
    for name, training in recipe.parts(NetworkTraining):
        _refuse_training(recipe, name, training, machine.expert_ranks if name == "expert" else machine.ranks)
    check_encoders(recipe)
    recipe.check(base)


def _refuse_too_many_clusters(name: str, division: Divide, n: int, *, asked_for: bool) -> None:
    k, remaining = division.k, division.remaining(n)
    if k > n:
        raise DataError(f"{name}.k={k}, but there are {n} different images; lower it")
    if asked_for and k > remaining:
        clusters = f"{remaining:,} cluster{'' if remaining == 1 else 's'}"
        raise DataError(
            f"{name}.k={k}, but of {n:,} images at most {clusters} can have "
            f"{division.smallest:,} ({name}.smallest), and smaller ones are merged; lower one of the two"
        )


def _refuse_training(recipe: Recipe, name: str, training: NetworkTraining, ranks: int) -> None:
    """Refuse a training that can't be done, whatever the other stages are."""
    if training.start == "base" and name not in recipe.starts_from_base:
        raise UsageError(f"{name}.start=base: only experts and students can start from a base")
    if training.batch_size % ranks:
        raise UsageError(
            f"{name}.batch_size={training.batch_size}: it can't be shared by {ranks} ranks alike; type a multiple of {ranks}, "
            f"like {name}.batch_size={ranks * -(-training.batch_size // ranks)}"
        )
    if training.recompute or training.encoder.init not in ("random", "timm"):
        with named_in_errors(name):
            encoder = build(training.encoder, training.input_spec.size)
        if training.recompute:
            recomputing(encoder, training.encoder.name)
