"""docs/results/methods.md: every small recipe on two collections, each shown as many images, scored alike.

    make results

or, with another budget, `python -m benchmarks.results images=20000`. A row is written to benchmarks/baselines.json as soon as
it is measured, and is not measured again: type the same command to go on. Remove that file to begin anew.
"""

import datetime
import gzip
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.machines import cores, machine
from divcon import recipes
from divcon.api import demo
from divcon.config import parse_options
from divcon.files.atomic import write_text
from divcon.files.caches import cache_folder
from divcon.files.integrity import write_json
from divcon.rng import uniforms

ROOT = Path(__file__).parents[1]
ROWS, PAGE = ROOT / "benchmarks" / "baselines.json", ROOT / "docs" / "results" / "methods.md"
FASHION, USED = "dataset-fashion-mnist", 3000  # a package of Debian's; images of each part
KINDS = ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]
NETWORK: dict[str, Any] = {"encoder": "slim10", "size": 32}
MIXED = ("byol", "moco", "simclr", "swav")  # methods that take MoCLR's place in DnC (the paper's tables 15 and 16)
OPTIONS: dict[str, Any] = {"images": 25_000, "runs": "runs/results", "seed": 0}
UNTRAINED = "untrained"
THREADS = max(1, cores() // 2)
WRITING = threading.Lock()

Row = dict[str, float]
Rows = dict[str, dict[str, Row]]  # by collection, then by what was trained


def main(words: list[str]) -> None:
    options = {**OPTIONS, **parse_options(words)}
    if set(options) - set(OPTIONS):
        sys.exit(f"options are {', '.join(OPTIONS)}")
    rows = kept(ROWS, options)
    for collection in COLLECTIONS:
        rows.setdefault(collection, {})
    with ThreadPoolExecutor(len(COLLECTIONS)) as side_by_side:
        failed = [name for names in side_by_side.map(partial(measure_on, options, rows), COLLECTIONS) for name in names]
    write_text(PAGE, page(options, rows))
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


def measure_on(options: Mapping[str, Any], rows: Rows, collection: str) -> list[str]:
    """Every row of a collection that is not there yet; the names of those that failed, which keep no other from being
    measured."""
    data, labeled = COLLECTIONS[collection](cache_folder())
    failed, folder = [], Path(options["runs"]) / collection.replace(" ", "-").lower()
    for name, own in trained().items():
        if name in rows[collection]:
            continue
        try:
            row = measured(data, labeled, folder / name.replace(" ", "-"), options, own)
        except subprocess.CalledProcessError as error:
            failed.append(f"{collection}: {name} ({error})")
            continue
        with WRITING:
            rows[collection][name] = row
            keep(ROWS, options, rows)
    return failed


def trained() -> dict[str, dict[str, Any]]:
    """The compared encoders: the untrained one, every small recipe, and DnC made of other methods."""
    small = [name for name in recipes.names() if not name.endswith(("_paper", "_1000", "_3000", "_4500"))]
    alone = {name: {"recipe": name, **({} if name == "nmf" else NETWORK)} for name in small}
    mixed = {f"dnc of {name}": {"recipe": "dnc", "method": name, **NETWORK} for name in MIXED}
    return {UNTRAINED: {}, **alone, **mixed}


def measured(data: Path, labeled: Path, out: Path, options: Mapping[str, Any], own: Mapping[str, Any]) -> Row:
    """Train in a process of its own, unless nothing is to be trained; then the scores, on the same split for all."""
    if not own:
        return scores(f"random:{NETWORK['encoder']}", labeled)
    n = said("look", data)["used"]
    words = {"epochs": options["images"] / n, "seed": options["seed"], **own}
    if own["recipe"] == "supervised":
        words["labels"] = labeled
    flags = ["--allow-collapse"]  # that is a result too
    said("run", data, f"out={out}", *(f"{key}={value}" for key, value in words.items()), *flags)
    return {**spent(said("status", out)["stages"]), **scores(str(out), labeled)}


def said(verb: str, *words: object) -> dict[str, Any]:
    """The answer of `divcon VERB`, on this collection's half of the cores."""
    command = [sys.executable, "-m", "divcon", verb, *map(str, words), "--json"]
    share = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
    answer: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=share).stdout)
    return answer


def spent(stages: Mapping[str, Mapping[str, Any]]) -> Row:
    """Seconds of all stages; images that were shown, and how many a second while training."""
    trainings = [stage for stage in stages.values() if stage["images_seen"]]
    seen = sum(stage["images_seen"] for stage in trainings)
    rate = seen / sum(stage["images_seen"] / stage["images_per_second"] for stage in trainings)
    return {"seconds": sum(stage["seconds"] for stage in stages.values()), "images": seen, "images_per_second": rate}


def scores(model: str, labeled: Path) -> Row:
    account = said("eval", model, labeled)
    knn = account["knn"].get("raw") or account["knn"]  # of raw features, as in rows of before
    return {"knn": knn["k20"], "linear": account["linear"]["top1"], "test": account["test"]}


# the two collections: what is trained on, and what is scored on


def clip_art(cache: Path) -> tuple[Path, Path]:
    """All of Open Clip Art; labels are the top-level folders."""
    folder = demo.demo_collection(cache)
    return folder, folder


def fashion(cache: Path) -> tuple[Path, Path]:
    """3,000 images of Fashion-MNIST to train on, and 3,000 of its test part to score."""
    folder = cache / "results" / "fashion-mnist"
    if not folder.is_dir():
        raw, part = demo.download_debian_package(FASHION, cache / "results"), folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        source = raw / "usr/share/datasets/fashion-mnist"
        for name, its in {"train": "train", "test": "t10k"}.items():
            images, labels = (idx(source / f"{its}-{what}.gz") for what in ("images-idx3-ubyte", "labels-idx1-ubyte"))
            write_images(part / name, images, labels, USED)
        part.rename(folder)
        shutil.rmtree(raw)
    return folder / "train", folder


def idx(path: Path) -> NDArray[np.uint8]:
    """An array in the format of MNIST: two zeros, the type, the number of sides, the sides, the bytes."""
    raw = gzip.decompress(path.read_bytes())
    sides = np.frombuffer(raw, ">i4", raw[3], 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(sides)


def write_images(folder: Path, images: NDArray[np.uint8], labels: NDArray[np.uint8], n: int) -> None:
    """Some n of the images, always the same, as FOLDER/KIND/NUMBER.png."""
    some = np.argsort(uniforms(("results",), np.arange(len(images)), 1)[:, 0], kind="stable")[:n]
    for i in np.sort(some):
        place = folder / KINDS[labels[i]] / f"{i:05}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[i]).save(place)


COLLECTIONS: dict[str, Callable[[Path], tuple[Path, Path]]] = {"Open Clip Art": clip_art, "Fashion-MNIST": fashion}


# what is kept, and what is written


def kept(file: Path, options: Mapping[str, Any]) -> Rows:
    """The rows that are there, if they were measured with this budget and seed."""
    if not file.exists():
        return {}
    before = json.loads(file.read_text())
    if (before["images"], before["seed"]) != (options["images"], options["seed"]):
        sys.exit(f"{file.name} is of images={before['images']} seed={before['seed']}; type the same, or remove it")
    rows: Rows = before["rows"]
    return rows


def keep(file: Path, options: Mapping[str, Any], rows: Rows) -> None:
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    write_json(file, {**{k: options[k] for k in ("images", "seed")}, "date": date, "machine": machine(), "rows": rows})


def page(options: Mapping[str, Any], rows: Rows) -> str:
    """The table, and above it how it was made."""
    about, date = machine(), datetime.datetime.now(datetime.UTC).date().isoformat()
    words = " ".join(f"{k}={options[k]}" for k in ("images", "seed"))
    head = [
        "# All methods, on the same images, with the same budget",
        "",
        f"Made on {date} by `python -m benchmarks.results {words}` (`make results`), on {about['cpu']}, {about['cores']} cores, torch",
        f"{about['versions']['torch']}. There is one run of each recipe; the two collections ran side by side, each on half of the cores.",
        "",
        f"Each recipe shows {options['images']:,} images over all of its stages, on both collections. The encoder is {NETWORK['encoder']} at",
        f"{NETWORK['size']} pixels; nmf has no network. The scores are those of `divcon eval` on the pooled features: 20 nearest neighbors and",
        "a linear classifier, with the same split for all. `supervised` learned from the labels of the training part; no other",
        "recipe saw a label. The seconds are those of all stages. The images per second are those of the trainings alone; an image",
        "counts once, however many views of it are made. The load before the start was",
        f"{about['load_at_start'][0]}: if it is not near 0, other work ran beside, and the seconds say little.",
        "",
    ]  # fmt: skip
    return "\n".join([*head, *table(rows)]) + "\n"


def table(rows: Rows) -> list[str]:
    """A line for each that was trained, the best by nearest neighbors on the first collection at the top."""
    names = sorted({name for its in rows.values() for name in its}, key=lambda name: -_first(rows, name))
    lines = ["| | " + " | ".join(f"{name}: 20-NN | linear | seconds | images/s" for name in rows) + " |"]
    lines.append("|---|" + "---:|" * 4 * len(rows))
    for name in names:
        lines.append(f"| {name} | " + " | ".join(cells(its.get(name, {})) for its in rows.values()) + " |")
    return lines


def _first(rows: Rows, name: str) -> float:
    return next(iter(rows.values())).get(name, {}).get("knn", 0.0)


def cells(row: Mapping[str, float]) -> str:
    shown = {"knn": ".1%", "linear": ".1%", "seconds": ",.0f", "images_per_second": ",.0f"}
    return " | ".join(format(row[key], how) if key in row else "" for key, how in shown.items())


if __name__ == "__main__":
    main(sys.argv[1:])
