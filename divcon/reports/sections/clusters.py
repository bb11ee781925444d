"""The clusters: sizes, names, galleries, and the evidence for their number."""

from ...clustering.number_of_clusters import NEAR, SEEDS, STABLE, suggested
from ...files.text import counted
from ..facts import RunFacts
from ..kept import Kept, ShownGallery
from ..parts import Cell, Gallery, Picture, Plot, Section, Table, capped
from ..plots import Series, bars, lines

MOST_ROWS = 200
MOST_BARS = 40


def clusters_section(facts: RunFacts, kept: Kept) -> Section:
    """Return the section of the clusters."""
    record = kept.record
    paragraphs = [_made(facts, kept), *_evidence(kept)]
    plots = [_size_plot(kept)]
    plots += [_trial_plot(kept)] if record.trials else []
    shown = sorted({gallery.cluster for gallery in record.galleries if gallery.cluster is not None})
    if len(shown) < len(record.names):
        paragraphs.append(
            f"Pictures are shown of the {len(shown)} largest clusters; the table lists {min(MOST_ROWS, len(record.names))}."
        )
    groups = [_group(kept, cluster) for cluster in shown if len(record.names) > 1]
    return Section("clusters", "The clusters", paragraphs, plots, groups=groups)


def _made(facts: RunFacts, kept: Kept) -> str:
    record = kept.record
    if record.division:
        clusters = facts.clusters
        base = f"The stage {record.division} divided the {record.collection:,} images into {counted(len(record.names), 'cluster')}"
        layer = f", in {clusters.centroids.shape[1]:,} dimensions of the base" if clusters is not None else ""
        return f"{base}{layer}, by k-means on the directions of their features. A name is the folder words that are typical of a cluster."
    if len(record.names) > 1:
        kind = "whitened" if record.whiten else "raw"
        return (
            f"No stage of this recipe divides the collection. For this report the sample of {len(record.paths):,} images was divided into "
            f"{counted(len(record.names), 'cluster')}, by k-means on the {kind} features of {record.encoder}."
        )
    return "There are no clusters: no stage has divided the collection, and there were no features of the sample to divide."


def _evidence(kept: Kept) -> list[str]:
    """The number of clusters that stands out, beside the one that was used."""
    record = kept.record
    if not record.trials:
        return []
    used = len(record.names)
    best, now = suggested(record.trials), next((trial for trial in record.trials if trial.k == used), None)
    stability = (
        f" With K={used} the divisions of other seeds agree by {now.stability:.2f} (1 is the same division)."
        if now
        else ""
    )
    if best is None:
        return [
            f"No number of clusters stands out: none is found again by other seeds (agreement of {STABLE} or more).{stability}"
        ]
    if now is not None and now.is_stable and best.silhouette - now.silhouette <= NEAR:
        return [
            f"The evidence speaks for K={used}, which was used: no other number has clusters that are clearly further apart.{stability}"
        ]
    against = f", against {now.silhouette:.2f} with K={used}" if now else ""
    return [
        f"The evidence speaks for K={best.k}: of the numbers that {SEEDS} seeds find again (agreement of {STABLE} or more), it is the "
        f"smallest whose clusters are as far apart as any (silhouette {best.silhouette:.2f}{against}).{stability}"
    ]


def _size_plot(kept: Kept) -> Plot:
    record = kept.record
    total = max(1, sum(record.cluster_sizes))
    title = "Images of each cluster" if record.division else "Images of the sample in each cluster"
    rows: list[list[Cell]] = [
        [name, size, f"{size / total:.1%}"] for name, size in zip(record.names, record.cluster_sizes)
    ]
    first, more = capped(rows, MOST_ROWS, "clusters.parquet in the folder of the run")
    shown = record.cluster_sizes[:MOST_BARS]
    about = f"Bars of {counted(len(shown), 'cluster')}; the largest has {max(shown, default=0):,} images."
    svg = bars(
        "sizes", title, [str(i) for i in range(len(shown))], [Series("images", range(len(shown)), shown)], "images"
    )
    return Plot(title, about, svg, Table(title, ["cluster", "images", "share"], first, more))


def _trial_plot(kept: Kept) -> Plot:
    trials = kept.record.trials
    ks = [trial.k for trial in trials]
    series = [
        Series("silhouette", ks, [trial.silhouette for trial in trials]),
        Series("stability over seeds", ks, [trial.stability for trial in trials]),
    ]
    title = f"Evidence for a number of clusters, from {kept.record.trial_images:,} images"
    rows: list[list[Cell]] = [
        [trial.k, f"{trial.silhouette:.3f}", f"{trial.stability:.3f}", trial.smallest] for trial in trials
    ]
    about = f"Lines of the silhouette and of the stability for {ks[0]} to {ks[-1]} clusters; larger is better."
    table = Table(title, ["K", "silhouette", "stability", "images of the smallest"], rows)
    return Plot(title, about, lines("trials", title, series, "number of clusters K", "score", ticks=ks), table)


def _group(kept: Kept, cluster: int) -> Section:
    record = kept.record
    galleries = [as_gallery(kept, gallery) for gallery in kept.galleries("cluster", cluster)]
    name, size = record.names[cluster], record.cluster_sizes[cluster]
    return Section(f"cluster-{cluster}", f"{name} ({counted(size, 'image')})", galleries=galleries)


def as_gallery(kept: Kept, gallery: ShownGallery) -> Gallery:
    """Return a gallery with its pictures."""
    pictures = [Picture(image.path, image.note, kept.pictures.get(image.row)) for image in gallery.images]
    more = gallery.of - len(pictures)
    return Gallery(gallery.title, pictures, f"and {more:,} more" if more > 0 else "")
