"""The verbs of every pipeline: plain functions from artifacts to an artifact, each given a folder to work in."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt

from . import dist, faults
from .artifacts import digest, read_json, write_json
from .clustering.clusters import Clusters, Sample
from .clustering.kmeans import assign, kmeans
from .data.images import Images
from .data.labelled import Labelled, open_labelled
from .data.pixels import Pixels, open_pixels
from .data.views import PRESETS, View
from .errors import DataError, UsageError
from .evals.compare import Check, agreement_on, knn_on
from .fit.factoring import factor
from .fit.kept import Kept, Lesson, keep
from .fit.looking import encode
from .fit.loop import Training, fit
from .log import say
from .method import Method, Share, check_learns_alone, checked_options, named
from .methods.classify import Classify
from .methods.distil import Distil
from .nets.encoder import FACTORS, EncoderSpec, build
from .nets.factors import Factors
from .nets.folded import folded
from .nets.net import Net, Place
from .nets.norm import over_all_ranks
from .nets.recompute import recomputing
from .nets.small_maps import with_products
from .nets.teacher import Teacher
from .nets.trained import Sight, Trained
from .rng import seed_for, uniforms
from .runs import Work

L = TypeVar("L", bound="Learning")
Start = Literal["scratch", "base"]
MARGIN = 0.005  # what an expert has to gain on the base to be called better
FEWEST = 16  # images: a batch has at least two, and is at most an eighth of them
SMALLEST = 128  # images: a cluster with fewer is merged into its nearest neighbour
USUAL = 65536  # images, at most, that tell what a teacher usually sees


@dataclass(frozen=True, kw_only=True)
class Learning(Training):
    """A training together with what is trained and what it is shown."""

    encoder: EncoderSpec = field(default_factory=EncoderSpec)
    sight: Sight = field(default_factory=Sight)
    views: str = "byol"  # a pair of views, by name: byol, mild, simclr, swav, crop
    start: Start = "scratch"
    recompute: bool = False  # the encoder's blocks once more for the gradient, rather than keep what they made

    def __post_init__(self) -> None:
        if self.views not in PRESETS:
            raise UsageError(f"views={self.views}: there is {', '.join(PRESETS)}")
        if self.batch_size < 2 or self.images <= 0:
            raise UsageError(f"batch_size={self.batch_size}, images={self.images}: at least 2, and more than 0")

    def pair(self) -> tuple[View, View]:
        return PRESETS[self.views](self.sight.size)


@dataclass(frozen=True, kw_only=True)
class Pretrain(Learning):
    """Learning by one method, with its options."""

    method: str = "moclr"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_learns_alone(self.method)
        object.__setattr__(self, "options", checked_options(self.method, self.options))

    def share(self, fraction: float) -> Self:
        """The part of this budget that falls to a cluster with this fraction of the images (DnC section 3.2)."""
        return replace(self, images=self.images * fraction)


@dataclass(frozen=True, kw_only=True)
class Classification(Learning):
    """Learning to tell labels apart, each image seen in the first of the two views."""

    smoothing: Share = 0.0


@dataclass(frozen=True, kw_only=True)
class Factoring:
    """How many centre views to factor, so many at a time, and into how many components. Pixels are in 0..1."""

    images: float
    batch_size: PositiveInt = 256
    encoder: EncoderSpec = field(default_factory=lambda: EncoderSpec(FACTORS, {"components": 64, "updates": 200}))
    sight: Sight = field(default_factory=lambda: Sight(32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    seed: int = 0


class Labels(Protocol):
    """A number for each image: what people called it, or its cluster."""

    @property
    def labels(self) -> NDArray[np.int64]: ...

    @property
    def fingerprint(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Divide:
    """k-means on what the base sees at `place`. The centroids are fitted on a `sample`; every image is assigned."""

    k: int = 5
    place: Place = "hidden"
    sample: PositiveInt = 1_500_000
    rounds: PositiveInt = 30
    restarts: PositiveInt = 3
    smallest: int = SMALLEST
    seed: int = 0

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UsageError(f"clusters.k={self.k}: at least 1")
        if self.sample < self.k:
            raise UsageError(
                f"clusters.sample={self.sample}: too few images for clusters.k={self.k} to be found in them"
            )


@dataclass(frozen=True, kw_only=True)
class Distillation(Learning):
    """The student's training: at which `place` it meets its teachers, the base's part of the loss, the heads' width.

    Teachers see the `same` view as the student, or always the `centre` one, and then each image once in all (DnC table
    11)."""

    place: Literal["projection", "pool"] = "projection"
    teacher_view: Literal["same", "centre"] = "same"
    hidden: PositiveInt = 4096
    base_share: Share = 0.5


@dataclass(frozen=True)
class Teachers:
    """The base, the experts in the order of their clusters, and which cluster an image is in."""

    base: Trained
    experts: Sequence[Trained]
    clusters: Clusters

    @property
    def fingerprint(self) -> str:
        models = " ".join(model.fingerprint for model in (self.base, *self.experts))
        return digest(f"{models} {self.clusters.fingerprint}")

    def with_positions(self) -> list[tuple[Trained, NDArray[np.int64]]]:
        """The base with the positions of all images, each expert with those of its own."""
        everything = np.arange(len(self.clusters.labels))
        return [(self.base, everything), *zip(self.experts, self.clusters.members(), strict=True)]


class Comparison:
    """How well each expert and the base know each cluster: rows for people, not used by any later stage."""

    def __init__(self, rows: list[dict[str, Any]]):
        self.rows = rows

    @property
    def fingerprint(self) -> str:
        return digest(str(self.rows))

    def save(self, folder: Path) -> None:
        write_json(folder / "comparison.json", self.rows)

    @classmethod
    def load(cls, folder: Path) -> Self:
        return cls(read_json(folder / "comparison.json"))


def pretrain(work: Work, images: Images, recipe: Pretrain, base: Trained | None = None) -> Trained:
    """Train an encoder on images by the recipe's method."""
    return _learned(
        work, images, recipe, lambda encoder: named(recipe.method)(encoder, len(images), **recipe.options), base
    )


def classify(work: Work, images: Images, truth: Labels, recipe: Classification) -> Trained:
    """Train an encoder, from scratch, to tell the images' labels apart."""
    labels = torch.tensor(truth.labels)
    return _learned(
        work, images, recipe, lambda encoder: Classify(encoder, len(images), labels, smoothing=recipe.smoothing), None
    )


def factorise(work: Work, images: Images, recipe: Factoring) -> Trained:
    """Find the non-negative parts that images are made of; the encoder says how much of each is in an image."""
    pixels = pixels_of(work, images, recipe.sight)
    factors = build(recipe.encoder, recipe.sight.size)
    assert isinstance(factors, Factors)
    size = max(2, min(recipe.batch_size, len(images) // 8))
    factor(work, factors, pixels, recipe.sight, images=recipe.images, batch_size=size, seed=recipe.seed)
    return Trained(recipe.encoder, recipe.sight, Net(factors))


def divide(work: Work, base: Trained, images: Images, recipe: Divide) -> Clusters:
    """Cluster a collection by what the base model sees in it."""
    pixels = pixels_of(work, images, base.sight)
    positions = sample(len(images), recipe.sample, recipe.seed)

    def look(at: NDArray[np.int64]) -> torch.Tensor:
        return encode(base.net, base.sight, pixels, work.machine, place=recipe.place, positions=at)

    features, precision = look(positions), work.machine.precision
    faults.at("divide.seen")
    fitted = kmeans(
        features, recipe.k, seed=recipe.seed, rounds=recipe.rounds, restarts=recipe.restarts, precision=precision
    )  # fmt: skip
    faults.at("divide.fitted")
    labels, distances = np.empty(len(images), np.int64), np.empty(len(images), np.float32)
    for at in np.array_split(np.arange(len(images)), -(-len(images) // 65536)):
        seen = features[at] if len(positions) == len(images) else look(at)
        near, far = assign(seen, fitted.centroids, precision=precision)
        labels[at], distances[at] = near.numpy(), far.numpy()
    faults.at("divide.assigned")
    kept = Sample(positions, features.numpy().astype(np.float16))
    clusters = Clusters(fitted.centroids.numpy(), labels, distances, images.names, kept).merge_small(recipe.smallest)
    work.notes |= {"k": clusters.k, "sizes": [int(size) for size in clusters.sizes], "inertia": float(fitted.inertia)}
    return clusters


def compare(
    work: Work, base: Trained, experts: Sequence[Trained], clusters: Clusters, images: Images, check: Check
) -> Comparison:  # fmt: skip
    """Ask base and expert about the expert's own cluster. Where the base knows it as well, dividing has not paid."""
    pixels = pixels_of(work, images, base.sight)
    labelled = _labelled_by_cluster(work, base, clusters, check)
    rows = []
    for k, (expert, members) in enumerate(zip(experts, clusters.members(), strict=True)):
        some = members[sample(len(members), check.images, check.seed)]
        row: dict[str, Any] = {"cluster": k, "images": len(members)}
        for who, model in (("base", base), ("expert", expert)):
            row[who] = agreement_on(model, pixels, some, work.machine, check)
            for data, its_pixels, at in labelled:
                row[f"{who}_knn"] = knn_on(model, data, its_pixels, at[k], work.machine, check)
        say(_verdict(row))
        rows.append(row)
        faults.at("compare.some")
    return Comparison(rows)


def distil(work: Work, teachers: Teachers, images: Images, recipe: Distillation) -> Trained:
    """Train a student to predict what its teachers see."""
    labels = torch.tensor(teachers.clusters.labels)
    lessons = [_lesson(work, model, images.subset(at), at, recipe.place) for model, at in teachers.with_positions()]
    given = [lesson.teacher for lesson in lessons]
    kept = _kept(work, lessons, images, teachers.base.sight) if recipe.teacher_view == "centre" else None

    def method(encoder: torch.nn.Module) -> Method:
        return Distil(encoder, len(images), given, labels, kept, hidden=recipe.hidden, base_share=recipe.base_share)

    return _learned(work, images, recipe, method, teachers.base)


def _lesson(
    work: Work, model: Trained, images: Images, positions: NDArray[np.int64], place: Literal["projection", "pool"]
) -> Lesson:  # fmt: skip
    """The model as a teacher of these images, which are at these positions of the whole collection."""
    net = with_products(folded(model.net, model.sight.size)) if work.machine.shortcuts else model.net
    if place == "projection":
        return Lesson(work.machine.put(Teacher(net)), positions)
    pixels, some = pixels_of(work, images, model.sight), sample(len(images), USUAL, 0)
    usual = encode(net, model.sight, pixels, work.machine, place=place, positions=some)
    teacher = work.machine.put(Teacher(net, place, usual))
    return Lesson(teacher, positions, usual if len(some) == len(positions) else None)


def _kept(work: Work, lessons: Sequence[Lesson], images: Images, sight: Sight) -> Kept:
    """What each teacher has to say of its own images' centre views."""
    return keep(work.folder / "kept.npy", lessons, sight, pixels_of(work, images, sight), work.machine)


def _learned(work: Work, images: Images, recipe: Learning, method_of: Any, base: Trained | None) -> Trained:
    """Build the method around a new encoder, or the base's, and train it."""
    recipe = fitting(recipe, len(images), work.name)
    pixels = pixels_of(work, images, recipe.sight)
    torch.manual_seed(seed_for(recipe.seed, "weights"))
    encoder = over_all_ranks(build(recipe.encoder, recipe.sight.size))
    if recipe.recompute:
        recomputing(encoder, recipe.encoder.name)
    method: Method = method_of(with_products(encoder) if work.machine.shortcuts else encoder)
    if recipe.start == "base":
        _start_from(method, base, work.name)
    fit(work, method, pixels, recipe, recipe.pair(), recipe.sight)
    return Trained(recipe.encoder, recipe.sight, method.net)


def _start_from(method: Method, base: Trained | None, name: str) -> None:
    if base is None:
        raise UsageError(f"{name}.start=base: only experts and students can start from a base")
    try:
        method.start_from(base.net)
    except RuntimeError as error:
        raise UsageError(
            f"{name}: start=base, but this network has another shape than the base's; give both the same encoder, size and options, "
            "or set expert.start=scratch (student.start=scratch)"
        ) from error


def fitting(recipe: L, n: int, name: str) -> L:
    """The recipe with a batch that is small enough for so many images: an eighth of them (and the rate with it), of which
    all ranks have as many."""
    if n < FEWEST:
        raise DataError(f"{name}: {n} images are too few to train on; add images, or lower clusters.k")
    if recipe.batch_size <= n // 8:
        return recipe
    batch = max(1, n // 8 // dist.world()) * dist.world()
    say(f"{name}: batch {batch}, an eighth of its {n:,} images")
    return replace(recipe, batch_size=batch)


def pixels_of(work: Work, images: Images, sight: Sight) -> Pixels:
    """The images' pixels, with the short side twice that of a view, from the cache that runs share."""
    return open_pixels(images, sight.short_side, cache=work.cache, cache_gb=work.cache_gb, threads=work.machine.readers)


def sample(n: int, most: int, seed: int) -> NDArray[np.int64]:
    """At most so many of n positions, in order: which ones depends on n and the seed only."""
    if n <= most:
        return np.arange(n)
    order = np.argsort(uniforms((seed, "sample"), np.arange(n), 1)[:, 0], kind="stable")
    return np.sort(order[:most])


def _labelled_by_cluster(
    work: Work, base: Trained, clusters: Clusters, check: Check
) -> list[tuple[Labelled, Pixels, list[NDArray[np.int64]]]]:
    """The labelled images, if any were named, with their pixels, and the positions that fall to each cluster."""
    if check.labels is None:
        return []
    labelled = open_labelled(check.labels, split=check.split, cache=work.cache, threads=work.machine.readers)
    pixels = pixels_of(work, labelled.images, base.sight)
    features = encode(base.net, base.sight, pixels, work.machine, place="hidden")
    nearest, _ = assign(features, torch.from_numpy(clusters.centroids))
    return [(labelled, pixels, [np.flatnonzero(nearest.numpy() == k) for k in range(clusters.k)])]


def _verdict(row: dict[str, Any]) -> str:
    gain = row["expert"] - row["base"] if row.get("expert_knn") is None else row["expert_knn"] - row["base_knn"]
    verdict = (
        "knows them better" if gain > MARGIN else "knows them less well" if gain < -MARGIN else "knows them as well"
    )
    knn = f"; 20-NN {row['expert_knn']:.1%}, base {row['base_knn']:.1%}" if row.get("expert_knn") is not None else ""
    scores = f"agreement {row['expert']:.3f}, base {row['base']:.3f}{knn}"
    return f"expert {row['cluster']} on its {row['images']:,} images: {scores}: it {verdict}"
