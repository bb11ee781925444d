"""The arithmetic of docs/scaling.md, from what was measured, and from the recipe of the paper.

    python -m benchmarks.scaling      # writes the table into docs/scaling.md

Nothing here is a run: each number is a measured rate times a count, or a number of bytes.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from divcon import recipes
from divcon.api.disk_space import CHECKPOINTS, MOMENTS
from divcon.api.flops import forward_flops, random_encoder, step_flops
from divcon.nets.net import Net
from divcon.pipelines.dnc import DnC
from divcon.recipes.options import Options

from .pairs import RESULTS

PAGE = Path(__file__).parent.parent / "docs" / "scaling.md"
BEGIN, END = "<!-- begin: python -m benchmarks.scaling -->\n", "<!-- end -->\n"
SIZES = (10**7, 10**8, 10**9)
FILE_BYTES = 110_000  # an image as JPEG: about the mean of ImageNet's
RATIO = 4 / 3  # of the sides of an image
PRICE = 3.0  # dollars for an hour of one GPU: rents of an H200 differ by more than two times
GPUS = 64
FEW = 64  # images: enough to build a method


@dataclass(frozen=True)
class Measured:
    """The rates that were measured: images a second of one GPU in training, and files a second that a core decodes."""

    trained: float
    decoded: float


@dataclass(frozen=True)
class Costs:
    """What the paper's recipe costs: images seen in all, and bytes and FLOPs for each image or each network."""

    seen: float
    side: int
    sample: int
    hidden: int
    pool: int
    checkpoint: float
    encode_share: float  # of the FLOPs of a training step


def measured() -> Measured:
    """Read the rates from the newest results."""
    gpu = json.loads((RESULTS / "gpu.json").read_text())["checks"]["resnet50"]["figures"]
    rows = json.loads(sorted(RESULTS.glob("jpeg-*.json"))[-1].read_text())["rows"]
    (note,) = [row["note"] for row in rows if row["case"] == "500 x 375 to 224"]
    return Measured(gpu["files_8_workers"]["images_per_second"], float(re.sub(r"[^\d]", "", note)))


def costs() -> Costs:
    """Read the costs off the recipe of the paper, with ResNet-50 at 224 pixels."""
    recipe = recipes.named("dnc_1000").recipe(
        Options(recipe="dnc_1000", encoder="resnet50", size=224, batch_size=4096, views="byol"), SIZES[0]
    )
    assert isinstance(recipe, DnC)
    base = recipe.base
    torch.manual_seed(0)
    method = base.method_for(FEW)(random_encoder(base))
    moved = sum(p.numel() for p in method.parameters() if p.requires_grad)
    state = sum(t.numel() * t.element_size() for t in method.state_dict().values())
    net = Net(random_encoder(base))
    return Costs(
        seen=sum(part.samples_seen for part in (recipe.base, recipe.expert, recipe.student)),
        side=base.input_spec.short_side,
        sample=recipe.clusters.sample,
        hidden=int(base.options["hidden"]),
        pool=net.encoder.num_features,
        checkpoint=CHECKPOINTS * (state + 4 * MOMENTS[base.optimizer] * moved),
        encode_share=forward_flops(net, base.input_spec.size) / step_flops(base, base.method_for(FEW)),
    )


def table(rates: Measured, cost: Costs) -> str:
    """Return the table of the page."""
    rows: list[tuple[str, Callable[[int], str]]] = [
        (f"files of {FILE_BYTES / 1000:.0f} kB", lambda n: size(n * FILE_BYTES)),
        (
            f"decoded pixels, if they are kept (short side {cost.side})",
            lambda n: size(n * 3 * cost.side * round(RATIO * cost.side)),
        ),
        ("features of the sample for k-means, float16", lambda n: size(min(n, cost.sample) * cost.hidden * 2)),
        ("features of all images (`divcon embed`), float32", lambda n: size(n * cost.pool * 4)),
        (f"checkpoints of a training in progress ({CHECKPOINTS})", lambda n: size(cost.checkpoint)),
        ("the first look: each file decoded once, core hours", lambda n: hours(n / rates.decoded)),
        ("clusters: each image encoded once, GPU hours", lambda n: hours(n * cost.encode_share / rates.trained)),
        ("one pass of training, GPU hours", lambda n: hours(n / rates.trained)),
        (f"ten passes, GPU hours; dollars; days on {GPUS} GPUs", lambda n: budget(10 * n / rates.trained)),
        ("passes of the paper's 1,000 ImageNet-epochs", lambda n: f"{cost.seen / n:.3g}"),
        (f"these, GPU hours; dollars; days on {GPUS} GPUs", lambda n: budget(cost.seen / rates.trained)),
    ]
    head = ["| | " + " | ".join(f"10^{len(str(n)) - 1}" for n in SIZES) + " |", "|---|" + "---|" * len(SIZES)]
    return "\n".join([*head, *(f"| {what} | {' | '.join(map(of, SIZES))} |" for what, of in rows), ""])


def budget(seconds: float) -> str:
    gpu_hours = seconds / 3600
    return f"{gpu_hours:,.0f}; {gpu_hours * PRICE:,.0f}; {gpu_hours / GPUS / 24:.2g}"


def hours(seconds: float) -> str:
    return f"{seconds / 3600:,.3g}" if seconds < 3_600_000 else f"{seconds / 3600:,.0f}"


def size(count: float) -> str:
    """Bytes in the largest unit that leaves a number of at least one."""
    for unit, of in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= of:
            return f"{count / of:,.3g} {unit}" if count < 1e15 else f"{count / of:,.0f} {unit}"
    return f"{count:,.0f} bytes"


def assumptions(rates: Measured) -> str:
    return (
        f"Measured: {rates.trained:,.0f} images a second of ResNet-50 at 224 pixels by MoCLR from JPEG files on one H200; "
        f"{rates.decoded:,.0f} files\na second decoded by one core of an EPYC (500 x 375 pixels). Taken to be so: "
        f"{FILE_BYTES / 1000:.0f} kB a file, sides of 4:3, ${PRICE:.2f} for\nan hour of a GPU, the same speed of each GPU "
        "beside others, and a student whose step costs what the base's does.\n"
    )


def drawn(page: str) -> str:
    """Return the page with the table of today."""
    before, rest = page.split(BEGIN)
    rates = measured()
    return f"{before}{BEGIN}\n{table(rates, costs())}\n{assumptions(rates)}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text()))
