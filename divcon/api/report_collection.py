"""Collect what a report shows of a run: the sample, its features and pictures, names of clusters, galleries, odd images."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Float32, Int64

from ..clustering.features import Features
from ..clustering.kmeans import kmeans
from ..clustering.number_of_clusters import Trial, suggested, try_numbers
from ..clustering.shares import evenly
from ..data.images import Images
from ..data.index.index import Index
from ..errors import DataError
from ..files.text import printable
from ..log import Begin
from ..nets.trained import Trained
from ..reports.facts import RunFacts
from ..reports.galleries import KINDS, gallery_of, largest
from ..reports.kept import Kept, KeptRecord, Quality, ShownGallery, ShownImage
from ..reports.measures import Measures
from ..reports.sample import sample_positions
from ..reports.words import cluster_names, cluster_words
from ..runs.folder import ENCODER_SETTINGS
from .report_encoding import Encoding, SeenSample
from .report_oddities import duplicate_galleries, far_gallery, odd_galleries
from .report_pictures import gallery_pictures, thumbnails_and_measures

SEED = 0
NAMED = 100_000  # images whose folders name the clusters
TRIED = 2000  # images on which numbers of clusters are tried
OWN_CLUSTERS = 8  # of a sample that no stage has divided, where no number stands out
Labels = Int64[np.ndarray, " m"]


@dataclass(frozen=True)
class Division:
    """The clusters of a report: `labels` [n] and `distances` [n] of the images at `positions`, and the evidence for k."""

    positions: Int64[np.ndarray, " n"]
    labels: Labels
    distances: Float32[np.ndarray, " n"]
    trials: list[Trial]
    tried: int

    @property
    def k(self) -> int:
        return int(self.labels.max(initial=0)) + 1

    @property
    def sizes(self) -> Labels:
        return np.bincount(self.labels, minlength=self.k).astype(np.int64)


class Collector:
    """Collects the parts of a report one by one. Without `encoding`, which has the images, there are no pictures. With `whiten`,
    features are compared whitened."""

    def __init__(
        self, facts: RunFacts, index: Index, encoding: Encoding | None, missing: str, begin: Begin, whiten: bool = True
    ):
        self.facts, self.index, self.encoding, self.missing = facts, index, encoding, missing
        self.begin, self.whiten = begin, whiten
        self.positions = sample_positions(index.used, SEED)

    def collect(self) -> Kept:
        """Return all that the report shows of the images."""
        self.begin("pictures of the map")
        thumbnails, measures = self._pictures()
        self.begin("features")
        _ = self.seen
        self.begin("clusters")
        _ = self.division
        self.begin("pictures of clusters")
        galleries = self._galleries(measures)
        rows = sorted({image.row for gallery in galleries for image in gallery.images})
        pictures = gallery_pictures(self._images, rows, self._workers) if self.encoding else {}
        self.begin("measures")
        return Kept(self._record(galleries), self._arrays(), thumbnails, pictures)

    @cached_property
    def encoder(self) -> str:
        """The last finished stage with an encoder; empty if there is none."""
        names = [stage.name for stage in self.facts.stages if stage.is_done and stage.group != "experts"]
        return next((name for name in reversed(names) if (self.facts.folder / name / ENCODER_SETTINGS).is_file()), "")

    @cached_property
    def seen(self) -> SeenSample | None:
        """The features of the sample; None without images or an encoder, or for a single image."""
        if self.encoding is None or not self.encoder or len(self.positions) < 2:
            return None
        model = self._model(self.encoder)
        return SeenSample(self.positions, self.encoding.features(model, self.positions), model, self.whiten)

    @cached_property
    def division(self) -> Division:
        """The clusters of the run; where no stage made any, those of the sample, by what the encoder sees."""
        clusters = self.facts.clusters
        if clusters is not None:
            whole = np.arange(len(clusters.labels))
            x = clusters.sample.features if clusters.sample is not None else None
            trials, tried = _tried(x, clusters.k) if x is not None else ([], 0)
            return Division(whole, clusters.labels, clusters.distances, trials, tried)
        if self.seen is None:
            nothing = np.zeros(len(self.positions), np.int64)
            return Division(self.positions, nothing, nothing.astype(np.float32), [], 0)
        return _divided(self.positions, self.seen.features)

    @cached_property
    def labels(self) -> Labels:
        """The clusters of the images of the sample."""
        own = len(self.division.positions) == len(self.positions)
        return self.division.labels if own else self.division.labels[self.positions]

    @property
    def quality(self) -> Quality | None:
        if self.seen is None or self.encoding is None:
            return None
        names = dict.fromkeys(name for name in ("base", self.encoder) if self._has_encoder(name))
        return self.seen.quality(self.labels, self.encoding, [(name, self._model(name)) for name in names])

    def names(self) -> list[str]:
        """The names of the clusters, from the folders of at most NAMED images."""
        chosen = evenly(len(self.division.positions), NAMED)
        paths = self.paths(self.division.positions[chosen])
        return cluster_names(cluster_words(paths, self.division.labels[chosen], self.division.k))

    def paths(self, rows: Int64[np.ndarray, " m"]) -> list[bytes]:
        """The paths of some rows of the index."""
        paths: list[bytes] = self.index.table["path_bytes"].take(pa.array(rows)).to_pylist()
        return paths

    def shown(self, rows: Int64[np.ndarray, " m"], notes: list[str]) -> list[ShownImage]:
        """The images of some rows, with notes."""
        return [
            ShownImage(int(row), printable(path), note)
            for row, path, note in zip(rows, self.paths(rows), notes, strict=True)
        ]

    def _pictures(self) -> tuple[list[bytes] | None, list[Measures]]:
        if self.encoding is None:
            return None, []
        return thumbnails_and_measures(self._images, self.positions, self._workers)

    def _galleries(self, measures: list[Measures]) -> list[ShownGallery]:
        galleries = [gallery for cluster in largest(self.division.sizes) for gallery in self._of_cluster(cluster)]
        galleries += odd_galleries(self.positions, measures, self.shown)
        if self.seen is not None:
            galleries += far_gallery(self.positions, self.seen.features, self.shown)
        return galleries + duplicate_galleries(self.index)

    def _of_cluster(self, cluster: int) -> list[ShownGallery]:
        division = self.division
        members = np.flatnonzero(division.labels == cluster)
        chosen = gallery_of(members, division.distances, SEED)
        return [
            ShownGallery(
                "cluster",
                kind,
                self.shown(division.positions[places], [f"distance {division.distances[i]:.3f}" for i in places]),
                cluster,
                len(members),
            )
            for kind, places in zip(KINDS, chosen, strict=True)
        ]

    def _arrays(self) -> dict[str, np.ndarray]:
        rows = self.positions
        arrays = {"positions": rows, "clusters": self.labels, "sizes": self.index.sizes[rows]}
        arrays |= {"widths": self.index.widths[rows], "heights": self.index.heights[rows]}
        return arrays if self.seen is None else {**arrays, "features": self.seen.x}

    def _record(self, galleries: list[ShownGallery]) -> KeptRecord:
        division = self.division
        return KeptRecord(
            of=self.facts.state_digest,
            collection=self.index.used,
            encoder=self.encoder if self.seen is not None else "",
            division=self.facts.division if self.facts.clusters is not None else "",
            names=self.names(),
            cluster_sizes=division.sizes.tolist(),
            paths=[printable(path) for path in self.paths(self.positions)],
            trials=division.trials,
            trial_images=division.tried,
            galleries=galleries,
            quality=self.quality,
            missing=self.missing,
            whiten=self.whiten,
        )

    @property
    def _images(self) -> Images:
        assert self.encoding is not None
        return self.encoding.images

    @property
    def _workers(self) -> int:
        assert self.encoding is not None
        return self.encoding.machine.workers

    def _has_encoder(self, name: str) -> bool:
        done = any(stage.name == name and stage.is_done for stage in self.facts.stages)
        return done and (self._folder(name) / ENCODER_SETTINGS).is_file()

    def _model(self, name: str) -> Trained:
        return Trained.load(self._folder(name))

    def _folder(self, name: str) -> Path:
        return self.facts.folder / name


def _tried(x: Float[np.ndarray, "n d"], used: int | None) -> tuple[list[Trial], int]:
    """Return the evidence for numbers of clusters, from at most TRIED of the rows, and the number of these."""
    rows = x[evenly(len(x), TRIED)]
    return try_numbers(rows, used), len(rows)


def _divided(positions: Int64[np.ndarray, " m"], features: Features) -> Division:
    """Divide a sample by its features as they are compared, into the number of clusters that stands out."""
    x = features.compared().numpy()
    trials, tried = _tried(x, None)
    best = suggested(trials)
    k = min(best.k if best else OWN_CLUSTERS, max(1, len(x) // 4))
    try:
        fit = kmeans(x, k, seed=SEED)
    except DataError:  # fewer than k different images
        fit = kmeans(x, 1, seed=SEED)
    order = np.argsort(-fit.sizes.numpy(), kind="stable")
    labels = np.argsort(order)[fit.labels.numpy()]
    return Division(positions, labels, fit.distances.numpy(), trials, tried)
