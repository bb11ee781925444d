"""The time of the operations of a ResNet-18 step, and the share of the machine's peak speed that the step reaches.

    python -m benchmarks.bench_profile

A share is a part of the self CPU time of all operations, by the profiler. The rate is the FLOPs of all convolutions and
matrix products of the step, divided by the wall-clock time with views. The peak is the best rate of some 3x3 convolutions,
forward, in bf16.
"""

import statistics
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from .pairs import Row, row, save, seconds
from .steps import Case, Ours, chosen

STEPS = 5
CASE = Case(
    name="ResNet-18 step, small stem, 32 px, batch 256", method="simclr", encoder="resnet18", stem="small", size=32,
    picture=32, batch=256,
)  # fmt: skip
PRODUCT = "_Product"  # the autograd function of divcon.nets.fast_small_maps
PEAKS = ((64, 32), (128, 16), (256, 8), (512, 4))  # channels, side: the convolutions of that network
IMAGES = 512  # both views of a batch


def measure(case: Case = CASE, images: int = IMAGES) -> Iterator[Row]:
    ours = Ours(case, chosen())
    ours.steps()
    ours.forget()
    shares = []
    for _ in range(STEPS):
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            ours.steps()
        shares.append(by_operation(profiled))
    outside = [100 * (1 - convolutions(share)) for share in shares]
    name, note = f"{case.name}: time outside convolutions", largest(shares)
    yield row(name, "the profile", *spread(outside), 10, note, unit="%", at_most=True)
    yield from rates(ours, images)


def rates(ours: Ours, images: int) -> Iterator[Row]:
    """The step's GFLOP/s over the machine's peak, taken by turns."""
    flops, taken, peaks = flops_of(ours), [], []
    for _ in range(STEPS):
        peaks.append(peak(images, ours))
        taken.append(flops / seconds(ours.steps) / 1e9)
    note = (
        f"{statistics.median(taken):,.0f} of {statistics.median(peaks):,.0f} GFLOP/s; {flops / 1e9:,.0f} GFLOP a step"
    )
    share = [100 * rate / top for rate, top in zip(taken, peaks)]
    yield row(f"{ours.case.name}: its rate", "the peak of 3x3 convolutions here", *spread(share), None, note, unit="%")


def spread(values: list[float]) -> tuple[float, float, float]:
    """Median, least and most."""
    return statistics.median(values), min(values), max(values)


def by_operation(profiled: Any) -> dict[str, float]:
    """Each operation's share of the self CPU time; the matrix products that stand for a convolution are one."""
    spent: Counter[str] = Counter()
    for event in profiled.events():
        spent["convolution as a product" if _stands_for_one(event) else event.name] += event.self_cpu_time_total
    return {name: took / spent.total() for name, took in spent.items()}


def _stands_for_one(event: Any) -> bool:
    """True if this is the matrix product itself, of `divcon.nets.fast_small_maps`."""
    above = event.cpu_parent
    while above is not None and PRODUCT not in above.name:
        above = above.cpu_parent
    return above is not None and event.name == "aten::mm"


def convolutions(share: dict[str, float]) -> float:
    return sum(part for name, part in share.items() if "conv" in name.lower())


def largest(shares: list[dict[str, float]]) -> str:
    """The operations that took the rest of the time, in words."""
    rest = {name: part for name, part in shares[-1].items() if "conv" not in name.lower()}
    first = sorted(rest, key=lambda name: -rest[name])[:5]
    return "the most of it: " + ", ".join(f"{name.split('::')[-1]} {rest[name]:.1%}" for name in first)


def flops_of(ours: Ours) -> int:
    """Floating-point operations of one step, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        ours.steps()
    return int(counter.get_total_flops())


@torch.no_grad()
def peak(images: int, ours: Ours) -> float:
    """The most GFLOP/s that a convolution of the network reaches forward."""
    with ours.machine.use(), torch.autocast("cpu", torch.bfloat16):
        return max(rate(images, channels, side) for channels, side in PEAKS)


def rate(images: int, channels: int, side: int) -> float:
    """GFLOP/s of a 3x3 convolution that keeps its shape, the best of a few, weights and images in bf16 from the start."""
    layout = torch.channels_last
    x = torch.randn(images, channels, side, side).to(torch.bfloat16).contiguous(memory_format=layout)
    weights = torch.randn(channels, channels, 3, 3).to(torch.bfloat16).contiguous(memory_format=layout)

    def convolve() -> None:
        torch.nn.functional.conv2d(x, weights, padding=1)

    convolve()
    fastest = min(seconds(convolve) for _ in range(5))
    return 2 * 9 * channels**2 * side**2 * images / fastest / 1e9


def main() -> None:
    save("profile", measure())


if __name__ == "__main__":
    main()
