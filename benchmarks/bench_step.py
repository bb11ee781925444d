"""A whole training step with its loader, against lightly as its documentation shows it.

    python -m benchmarks.bench_step              # all, kept in benchmarks/results
    python -m benchmarks.bench_step slim10       # those whose name has "slim10", only shown

Both sides have the same network, batch, views and projector widths, and the same pictures in memory, so the disk does not
count. Each side has its own process. divcon chooses precision and memory format as in a run, and is measured once more in
float32, which it chooses on a processor without fast bfloat16.
"""

import functools
import sys
from collections.abc import Iterator
from dataclasses import replace

from divcon.machine import Machine

from .pairs import Row, by_turns, over, row, save, show
from .sides import Side
from .steps import Case, Ours, chosen

PAIRS = 7
PEER = "lightly 1.6"
CASES = (
    Case(name="SimCLR, ResNet-18 with small stem, 32 px, batch 256", method="simclr", encoder="resnet18", stem="small",
         size=32, picture=32, batch=256, aim=2.5),
    Case(name="SimCLR, slim10 (ResNet-10, width 16), 32 px, batch 256", method="simclr", encoder="slim10", stem="small",
         size=32, picture=32, batch=256, aim=3.2, steps=4),
    Case(name="SimCLR, ResNet-18 with its own stem, 64 px, batch 256", method="simclr", encoder="resnet18", size=64,
         picture=64, batch=256, aim=2.0),
    Case(name="MoCo v2, ResNet-18 with its own stem, 64 px, batch 256", method="moco", encoder="resnet18", size=64,
         picture=64, batch=256, aim=2.4),
    Case(name="MoCLR, ResNet-18 with its own stem, 64 px, batch 256", method="moclr", encoder="resnet18", size=64,
         picture=64, batch=256, aim=2.4, note="MoCo v2 in both directions, which is as much work as MoCLR"),
    Case(name="BYOL, ResNet-18 with its own stem, 64 px, batch 256", method="byol", encoder="resnet18", size=64,
         picture=64, batch=256, aim=2.0),
    Case(name="SimCLR, ResNet-50, 96 px, batch 32", method="simclr", encoder="resnet50", size=96, picture=256, batch=32,
         aim=2.1, steps=2),
)  # fmt: skip


def measure(cases: tuple[Case, ...] = CASES) -> Iterator[Row]:
    for case in cases:
        yield from compared(case)


def compared(case: Case, pairs: int = PAIRS) -> Iterator[Row]:
    """Ours, theirs, and ours in float32 by turns; then what of ours was spent on data."""
    from .documented import better

    machine = chosen()
    plain = replace(machine, precision="fp32")
    with Side(Ours, case, machine) as ours, Side(better, case) as theirs, Side(Ours, case, plain) as slowed:
        sides = ours, theirs, slowed
        works = [functools.partial(side.ask, "steps") for side in sides]
        by_turns(works, 1, warmup=0)
        ours.ask("forget"), slowed.ask("forget")
        fast, slow, slower = by_turns(works, pairs, warmup=0)
        found = [side.ask("figures") for side in sides]
    peer = f"lightly with {found[1]['workers']} workers" + (f", {case.note}" if case.note else "")
    yield over(fast, slow).row(case.name, PEER, case.aim, f"{said(machine, found[0])}; {peer}")
    yield over(slower, slow).row(f"{case.name}, without bf16", PEER, None, f"{said(plain, found[2])}; {peer}")
    yield waiting(case, found[0])


def said(machine: Machine, found: dict[str, float]) -> str:
    layout = "channels last" if machine.channels_last else "channels first"
    return f"ours {found['images_per_second']:.3g} images/s in {machine.precision}, {layout}"


def waiting(case: Case, found: dict[str, float]) -> Row:
    share = 100 * found["data_wait"]
    return row(
        f"{case.name}: time waiting for data", "the step", share, share, share, 3, unit="%", at_most=True,
        note=f"views are made between steps: all of it is that; to normalize them takes {found['normalizing']:.1%} more",
    )  # fmt: skip


def main() -> None:
    asked = sys.argv[1:]
    if asked:
        for found in measure(tuple(case for case in CASES if all(word in case.name for word in asked))):
            show(found)
    else:
        save("step", measure())


if __name__ == "__main__":
    main()
