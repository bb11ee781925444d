"""A whole DnC run against MoCLR alone at equal epochs, by wall clock, each in a process of its own.

    python -m benchmarks.bench_dnc

The collection is drawn, and the encoder is slim10 at 32 pixels. Some parts of DnC take time once for each image and not once
for each epoch: clusters, checks, the outputs of teachers. Their share is smaller with more epochs; the paper has a thousand.
The cache is warm: pixels are decoded, kernels are compiled and the machine is measured before the first run that counts.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from divcon.data import synthetic
from divcon.files.integrity import read_json

from .pairs import Row, over, row, save

PAIRS = 5  # of three runs each, of a minute or more
IMAGES = 1500
EPOCHS = 30.0
KINDS = {
    "moclr": {"recipe": "moclr"},
    "kept": {"recipe": "dnc", "student.teacher_view": "center"},
    "asked": {"recipe": "dnc"},
}
OPTIONS = {"encoder": "slim10", "size": 32, "batch_size": 32}  # small, so that no expert needs a smaller one

Stages = dict[str, float]  # seconds


def measure(images: int = IMAGES, epochs: float = EPOCHS, pairs: int = PAIRS) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        synthetic.make_collection(place / "images", images, size=48)
        for kind in KINDS:
            ran(place, kind, epochs=1)
        rounds = [{kind: ran(place, kind, epochs) for kind in turned(i)} for i in range(pairs)]
    runs = {kind: [found[kind] for found in rounds] for kind in KINDS}
    yield from rows(runs, f"{images:,} images, {epochs:g} epochs")


def turned(i: int) -> list[str]:
    """The kinds of run, another one first each time."""
    kinds = list(KINDS)
    return kinds[i % 3 :] + kinds[: i % 3]


def ran(place: Path, kind: str, epochs: float) -> Stages:
    """The seconds of a new run, and of each of its stages."""
    with tempfile.TemporaryDirectory(dir=place) as out:
        asked = {**OPTIONS, **KINDS[kind], "epochs": epochs, "cache": place / "cache"}
        words = [f"{name}={value}" for name, value in asked.items()]
        begin = time.perf_counter()
        command = [sys.executable, "-m", "divcon", "run", place / "images", f"out={out}/run", *words]
        done = subprocess.run(command, capture_output=True, text=True)
        whole = time.perf_counter() - begin
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)} failed:\n{done.stderr}")
        return {"whole": whole, **stages(Path(out) / "run")}


def stages(run: Path) -> Stages:
    """The seconds of each stage; experts together."""
    spent: Stages = {}
    for file in sorted(run.rglob("stage.json")):
        name = file.parent.relative_to(run).parts[0]
        spent[name] = spent.get(name, 0.0) + float(read_json(file)["seconds"])
    return spent


def rows(runs: dict[str, list[Stages]], what: str) -> Iterator[Row]:
    moclr = runs["moclr"]
    for kind, name, aim in (("kept", "kept teachers", 1.0), ("asked", "teachers asked at each step", 1.1)):
        ratio = over([run["whole"] for run in moclr], [run["whole"] for run in runs[kind]])
        yield row(
            f"wall clock of a DnC run with {name}", "MoCLR at equal epochs", ratio.ratio, ratio.low, ratio.high, aim,
            f"{what}; {account(runs[kind])}; MoCLR: {account(moclr)}", at_most=True, pairs=ratio.pairs,
        )  # fmt: skip


def account(runs: list[Stages]) -> str:
    """The median seconds of each stage in words, and of what lies between them: starting, reading the index."""
    middle = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    rest = middle["whole"] - sum(spent for name, spent in middle.items() if name != "whole")
    return ", ".join(f"{name} {spent:.1f} s" for name, spent in {**middle, "beside": rest}.items())


def main() -> None:
    save("dnc", measure())


if __name__ == "__main__":
    main()
