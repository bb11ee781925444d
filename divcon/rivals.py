"""What Divide and Contrast is measured against, as pipelines of the same stages."""

from dataclasses import dataclass
from pathlib import Path

from .data.images import Images
from .data.labelled import Labelled, open_labelled
from .data.layout import Split
from .evals.split import split
from .nets.trained import Trained
from .runs import Run
from .stages import Classification, Divide, Factoring, Pretrain, classify, divide, factorise, pretrain


@dataclass(frozen=True, kw_only=True)
class Single:
    """One method, on everything, for the whole budget."""

    base: Pretrain


@dataclass(frozen=True, kw_only=True)
class ClusterFit:
    """A base by any method, many small clusters of what it sees, and a second network that learns to tell them apart."""

    base: Pretrain
    clusters: Divide
    refit: Classification


@dataclass(frozen=True, kw_only=True)
class Truth:
    """A labelled folder; `split` and `split_seed` are those of the evaluation that is to be honest."""

    labels: str
    split: Split = "auto"
    split_seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Supervised:
    """Learning from the labels that people gave."""

    truth: Truth
    base: Classification


@dataclass(frozen=True, kw_only=True)
class NMF:
    """Non-negative matrix factorisation of pixels."""

    base: Factoring


def single(run: Run, images: Images, recipe: Single) -> Trained:
    """Train one encoder on the whole collection by one method."""
    return run.stage("base", pretrain, images, recipe.base)


def clusterfit(run: Run, images: Images, recipe: ClusterFit) -> Trained:
    """ClusterFit (https://arxiv.org/abs/1912.03330): what a base sees is put into clusters, and a second network, which
    begins anew, learns each image's cluster."""
    base = run.stage("base", pretrain, images, recipe.base)
    clusters = run.stage("clusters", divide, base, images, recipe.clusters)
    return run.stage("refit", classify, images, clusters, recipe.refit)


def supervised(run: Run, images: Images, recipe: Supervised) -> Trained:
    """Train an encoder on the labelled images that an evaluation does not test on; `images` only set the budget."""
    known = to_learn_from(recipe.truth, run.cache, run.machine.readers)
    return run.stage("base", classify, known.images, known, recipe.base)


def to_learn_from(truth: Truth, cache: Path, threads: int) -> Labelled:
    """The labelled folder without the images that `divcon eval` with the same seed tests on."""
    labelled = open_labelled(truth.labels, split=truth.split, cache=cache, threads=threads)
    train, _, _ = split(labelled, truth.split_seed)
    return labelled.part(train)


def nmf(run: Run, images: Images, recipe: NMF) -> Trained:
    """Factor the whole collection."""
    return run.stage("base", factorise, images, recipe.base)
