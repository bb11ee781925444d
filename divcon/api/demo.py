"""The whole job on a real collection, in minutes: Open Clip Art, drawn by hundreds of people and sorted by nobody."""

import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ..clustering.clusters import Clusters
from ..data.images import open_images
from ..data.labeled.labeled import Labeled, open_labeled
from ..data.synthetic import make_collection
from ..errors import UsageError
from ..evals.split import train_test_split
from ..files.caches import cache_folder
from ..files.text import printable
from ..log import info, warning
from .contact_sheet import draw_clusters
from .entry import exclusive
from .evaluate import evaluate
from .run import run

PACKAGE = "openclipart-png"
OPTIONS = {"epochs": 15, "encoder": "slim10", "size": 32}


@exclusive
def demo(
    *, out: str | Path | None = None, data: str | Path | None = None, seed: int = 0, **options: Any
) -> dict[str, Any]:
    """Divide and Contrast on Open Clip Art (or `data`, a folder with a subfolder a class), then the scores of the
    untrained encoder, the base and the student by top-level folder, and what is in the clusters."""
    if not str(options.get("recipe", "dnc")).startswith("dnc"):
        raise UsageError("the demo shows DnC; for another recipe type: divcon run DATA out=RUN recipe=...")
    cache = cache_folder(options.get("cache"))
    folder = Path(data) if data else collection(cache)
    out = Path(out or Path("runs") / "demo")
    labeled = open_labeled(folder, cache=cache)
    train, test, _ = train_test_split(labeled, 0)  # refused now, if it can't be split to be scored on
    ran = run(folder, out=out, **{**OPTIONS, "seed": seed, **options})
    scores = {name: evaluate(model, labeled, cache=cache) for name, model in _models(ran.folder).items()}
    clusters = Clusters.load(out / "clusters")
    draw_clusters(open_images(folder, cache=cache), clusters, out / "clusters.png")
    used = "every image, those of the test half too, without any label"
    return {
        "run": str(out),
        "data": str(folder),
        "pretrained_on": used,
        "train": len(train),
        "test": len(test),
        "scores": scores,
        "clusters": contents(clusters, labeled),
    }


def _models(run_folder: Path) -> dict[str, str]:
    return {"untrained": f"random:{run_folder}", "base": str(run_folder / "base"), "student": str(run_folder)}


def collection(cache: Path) -> Path:
    """Open Clip Art (public domain), unpacked in the cache; where there is no apt, a made collection with known truth."""
    folder = cache / "demo" / "openclipart"
    if folder.is_dir():
        return folder
    if shutil.which("apt-get") and shutil.which("dpkg-deb"):
        try:
            return _unpacked(cache / "demo", folder)
        except (subprocess.SubprocessError, OSError) as error:
            warning(f"{PACKAGE} could not be got ({_reason(error)}); a made collection takes its place")
    else:
        warning("no apt-get here, so no Open Clip Art: a made collection takes its place")
    return _made(cache / "demo" / "made")


def _made(folder: Path) -> Path:
    if not folder.is_dir():
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        make_collection(part, 3000).rename(folder)
    return folder


def _unpacked(work: Path, folder: Path) -> Path:
    info(f"getting {PACKAGE} (131 MB)")
    part = unpacked(PACKAGE, work)
    (part / "usr/share/openclipart/png").rename(folder)
    shutil.rmtree(part)
    return folder


def unpacked(name: str, work: Path) -> Path:
    """Download a package of Debian's without being root, and unpack it into a folder of `work`."""
    work.mkdir(parents=True, exist_ok=True)
    for command in (["apt-get", "download", name], ["apt-get", "update"], ["apt-get", "download", name]):
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=600)
        if done.returncode == 0 and command[1] == "download":
            break
    (package,) = list(work.glob(f"{name}_*.deb"))[-1:] or _refuse(done.stderr)
    part = work / "unpacked.part"
    shutil.rmtree(part, ignore_errors=True)
    subprocess.run(["dpkg-deb", "-x", package, part], check=True, capture_output=True, timeout=600)
    package.unlink()
    return part


def _refuse(why: str) -> list[Path]:
    raise subprocess.SubprocessError(why.strip().splitlines()[-1] if why.strip() else "no package came")


def _reason(error: Exception) -> str:
    return printable(str(error).splitlines()[0] if str(error) else type(error).__name__)


def contents(clusters: Clusters, labeled: Labeled) -> list[dict[str, Any]]:
    """Each cluster's size, and the folders most frequent in it."""
    folder_of = dict(zip(labeled.images.names(np.arange(len(labeled.images))), labeled.labels))
    rows = []
    for members in clusters.members():
        names = clusters.names(members)
        counts = Counter(labeled.classes[folder_of[name]] for name in names if name in folder_of)
        shares = {name: round(count / len(members), 3) for name, count in counts.most_common(4)}
        rows.append({"images": len(members), "folders": shares})
    return rows


def told(account: dict[str, Any]) -> str:
    """The demo's account in words and tables."""
    lines = [f"{'':<12}{'20-NN':>8}{'linear':>8}"]
    for name, score in account["scores"].items():
        linear = score["linear"]["top1"]
        lines.append(f"{name:<12}{score['knn']['top1']:>8.1%}{'-' if linear is None else f'{linear:.1%}':>8}")
    lines += [
        "",
        f"Trained on {account['pretrained_on']}.",
        f"Scored by top-level folder: {account['train']:,} images to learn from, {account['test']:,} to be tested on.",
        "",
    ]
    for k, row in enumerate(account["clusters"]):
        folders = ", ".join(f"{printable(name)} {share:.0%}" for name, share in row["folders"].items())
        lines.append(f"cluster {k}: {row['images']:,} images; {folders}")
    return "\n".join(
        [*lines, "", f"Everything is in {account['run']}; clusters.png there shows a row of pictures for each cluster."]
    )
