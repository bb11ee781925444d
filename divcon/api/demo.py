"""Divide and Contrast on Open Clip Art, in minutes: a real collection, drawn by hundreds of people and sorted by nobody."""

import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..answers import Answer
from ..clustering.clusters import Clusters
from ..data.images import open_images
from ..data.labeled.labeled import Labeled, open_labeled
from ..data.synthetic import make_collection
from ..errors import UsageError
from ..evals.split import train_test_split
from ..files.caches import cache_folder
from ..files.text import printable
from ..log import info, warning
from ..runs.evals import EvaluateAnswer, compared_alike
from ..runs.folder import SHEET
from .behavior import behavior_of, wants_report
from .contact_sheet import draw_clusters
from .entry import runs_alone
from .evaluate import evaluate
from .report import report, warn_of_failure
from .run import run

PACKAGE = "openclipart-png"
OPTIONS = {"epochs": 15, "encoder": "slim10", "size": 32}
SYNTHETIC = 3000  # images of the collection that stands in for Open Clip Art
TIMEOUT = 600  # seconds for each command of the package manager
FOLDERS = 4  # of a cluster, in the answer


@dataclass(frozen=True)
class ClusterContents(Answer):
    """The number of images in a cluster, and the shares of its most frequent folders, by their names."""

    images: int
    folders: dict[str, float]


@dataclass(frozen=True)
class DemoAnswer(Answer):
    """The answer of `demo`; `scores` has the keys untrained, base and student."""

    run: str
    data: str
    pretrained_on: str
    train: int
    test: int
    scores: dict[str, EvaluateAnswer]
    clusters: list[ClusterContents]


@runs_alone
def demo(*, out: str | Path | None = None, data: str | Path | None = None, seed: int = 0, **options: Any) -> DemoAnswer:
    """Run Divide and Contrast on Open Clip Art, score it, and show the clusters.

    `data` may be another folder, with a subfolder for each class. The untrained encoder, the base and the student are scored
    on the folders at the top as classes. `clusters.png` in the run folder `out` shows pictures of each cluster. `options` are
    those of `run`.
    """
    if not str(options.get("recipe", "dnc")).startswith("dnc"):
        raise UsageError("the demo shows DnC; for another recipe type: divcon run DATA out=RUN recipe=...")
    cache = cache_folder(options.get("cache"))
    folder = Path(data) if data else demo_collection(cache)
    out = Path(out or Path("runs") / "demo")
    labeled = open_labeled(folder, cache=cache)
    train, test, _ = train_test_split(labeled, 0)  # before the training: a folder that can't be split is refused now
    ran = run(folder, out=out, **{**OPTIONS, "seed": seed, **options})
    models = _models(ran.folder)  # an untrained one has no whitening
    scores = dict(zip(models, compared_alike([evaluate(model, labeled, cache=cache) for model in models.values()])))
    clusters = Clusters.load(out / "clusters")
    draw_clusters(open_images(folder, cache=cache), clusters, out / SHEET)
    if wants_report(behavior_of(options)):
        with warn_of_failure(out):
            report(out, cache=cache)  # again, with the scores
    return DemoAnswer(
        run=str(out),
        data=str(folder),
        pretrained_on="every image, those of the test half too, without any label",
        train=len(train),
        test=len(test),
        scores=scores,
        clusters=cluster_contents(clusters, labeled),
    )


def _models(run_folder: Path) -> dict[str, str]:
    return {"untrained": f"random:{run_folder}", "base": str(run_folder / "base"), "student": str(run_folder)}


def demo_collection(cache: Path) -> Path:
    """Return the folder of Open Clip Art (public domain) in the cache; download it the first time.

    Without a package manager, or without a connection, return a synthetic collection instead.
    """
    folder = cache / "demo" / "openclipart"
    if folder.is_dir():
        return folder
    if shutil.which("apt-get") and shutil.which("dpkg-deb"):
        try:
            return _download_clip_art(cache / "demo", folder)
        except (subprocess.SubprocessError, OSError) as error:
            warning(f"{PACKAGE} could not be downloaded ({_reason(error)}); a synthetic collection takes its place")
    else:
        warning("no apt-get here, so no Open Clip Art: a synthetic collection takes its place")
    return _synthetic_collection(cache / "demo" / "made")


def _synthetic_collection(folder: Path) -> Path:
    if not folder.is_dir():
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        make_collection(part, SYNTHETIC).rename(folder)
    return folder


def _download_clip_art(work: Path, folder: Path) -> Path:
    info(f"downloading {PACKAGE} (131 MB)")
    part = download_debian_package(PACKAGE, work)
    (part / "usr/share/openclipart/png").rename(folder)
    shutil.rmtree(part)
    return folder


def download_debian_package(name: str, work: Path) -> Path:
    """Download a package of Debian, without root, and return the folder below `work` that it is unpacked to.

    Raises subprocess.SubprocessError if it can't be downloaded.
    """
    work.mkdir(parents=True, exist_ok=True)
    for command in (["apt-get", "download", name], ["apt-get", "update"], ["apt-get", "download", name]):
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=TIMEOUT)
        if done.returncode == 0 and command[1] == "download":
            break
    packages = list(work.glob(f"{name}_*.deb"))
    if not packages:
        raise subprocess.SubprocessError((done.stderr.strip().splitlines() or ["no package came"])[-1])
    part = work / "unpacked.part"
    shutil.rmtree(part, ignore_errors=True)
    subprocess.run(["dpkg-deb", "-x", packages[-1], part], check=True, capture_output=True, timeout=TIMEOUT)
    packages[-1].unlink()
    return part


def _reason(error: Exception) -> str:
    return printable(str(error).splitlines()[0] if str(error) else type(error).__name__)


def cluster_contents(clusters: Clusters, labeled: Labeled) -> list[ClusterContents]:
    """Return each cluster's size, and the folders that most of its images lie in."""
    folder_of = dict(zip(labeled.images.names(np.arange(len(labeled.images))), labeled.labels))
    contents: list[ClusterContents] = []
    for members in clusters.members():
        names = clusters.names(members)
        counts = Counter(labeled.classes[folder_of[name]] for name in names if name in folder_of)
        shares = {name: round(count / len(members), 3) for name, count in counts.most_common(FOLDERS)}
        contents.append(ClusterContents(len(members), shares))
    return contents
