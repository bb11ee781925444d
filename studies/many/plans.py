"""The experiments that are asked of the search."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from divcon.errors import DataError, InputError
from divcon.files.text import printable
from divcon.recipes.dnc import STUDENT_RATE

from .piles import PACKED_FOR, Pile, joined
from .student import Weights
from .ways import Spec, Way

Row = dict[str, Any]
EPOCHS = {  # of different views
    "made": 8,
    "openclipart": 60,
    "mixture": 44,
    "heap": 30,
    "fashion": 60,
    "emoji": 240,
}

DNC = Way()
MIXED = Weights(own=0.5)
ALIKE = Weights(own=0.5, regress=0, base_alike=0.5, expert_alike=0.5)
CLASSES = Weights(own=1, regress=0, classify=0.5)

DIVIDED = {
    "dnc": DNC,
    "own 0.2": Way(weights=Weights(own=0.2)),
    "own 0.5": Way(weights=MIXED),
    "own 1": Way(weights=Weights(own=1)),
    "own 0.5, whitened targets": Way(whiten=True, weights=MIXED),
    "whitened targets": Way(whiten=True),
    "own 0.5, whitened, all teachers": Way(whiten=True, everyone=True, weights=MIXED),
    "alike": Way(weights=ALIKE),
    "alike, sharper": Way(weights=replace(ALIKE, teacher_temperature=0.05)),
    "alike to experts alone": Way(weights=Weights(own=0.5, regress=0, expert_alike=1)),
    "own 0.5, alike to experts": Way(weights=Weights(own=0.5, expert_alike=0.5)),
    "own 1, classes": Way(weights=Weights(own=1, regress=1, classify=0.5)),
    "k 10, own 0.5": Way(k=10, weights=MIXED),
    "rounds 2, own 0.5": Way(rounds=2, weights=MIXED),
    "base 3/4, own 0.5": Way(shares=(0.75, 0.125, 0.125), weights=MIXED),
    "short experts, own 0.5": Way(shares=(0.5, 0.125, 0.375), weights=MIXED),
    "paper's shares, own 0.5": Way(shares=(1 / 3, 1 / 2, 1 / 6), weights=MIXED),
    "balanced parts": Way(parts="balanced"),
    "hierarchical parts": Way(parts="hierarchy"),
    "balanced lessons": Way(balanced=True),
    "unit targets": Way(unit=True),
    "unit targets and predictions": Way(unit=True, weights=Weights(unit=1)),
}  # fmt: skip
CONTROLS = {
    "random parts": Way(parts="random"),
    "random parts, own 0.5": Way(parts="random", weights=MIXED),
    "one expert": Way(parts="all"),
    "one expert, own 0.5": Way(parts="all", weights=MIXED),
    "objectives, own 0.5": Way(parts="objectives", everyone=True, weights=MIXED),
    "moclr, larger rate": Way(shares=(1, 0, 0), parts="none", base_rate=STUDENT_RATE),
    "moclr, restarted": Way(shares=(0.5, 0.5, 0), parts="all"),
    "self": Way(shares=(0.5, 0, 0.5), parts="none"),
    "self, own 0.5": Way(shares=(0.5, 0, 0.5), parts="none", weights=MIXED),
    "moclr, student's rate": Way(shares=(0.5, 0, 0.5), parts="none", weights=Weights(own=1, regress=0)),
    "self alike": Way(shares=(0.5, 0, 0.5), parts="none", weights=Weights(own=0.5, regress=0, base_alike=1)),
    "moclr, groups": Way(shares=(0.5, 0, 0.5), parts="none", weights=Weights(own=1, regress=0, groups=0.5)),
    "moclr, classes": Way(shares=(0.5, 0, 0.5), parts="none", weights=CLASSES),
}  # fmt: skip


def composed(name: str, packed: Mapping[str, Pile]) -> Pile:
    """A collection of the packed sources."""
    parts = ("emoji", "fashion", "openclipart") if name == "mixture" else (name,)
    for part in parts:
        if part not in packed:
            raise InputError(
                f"there is no {part}.npz; on a machine that has the collections, type: python -m studies.many pack {part} cache=FOLDER "
                "out=FOLDER"
            )
    return packed[name] if name != "mixture" else joined(name, [packed[part] for part in parts])


def lines_at(
    pile: str, width: int, passes: float, seed: int, ways: Mapping[str, Way], size: int = PACKED_FOR
) -> Iterator[Spec]:
    yield Spec("moclr", pile, width, passes, seed, size=size)
    for line, way in ways.items():
        yield Spec(line, pile, width, passes, seed, way, size)


def every_way() -> list[Spec]:
    """Every way and every control at 30 passes, on two collections, three seeds."""
    every, piles = DIVIDED | CONTROLS, ("openclipart", "mixture")
    return [spec for seed in range(3) for pile in piles for spec in lines_at(pile, 16, 30, seed, every)]


SOME = ("dnc", "own 0.5", "random parts, own 0.5", "self, own 0.5", "moclr, restarted", "moclr, student's rate")
FEW = ("own 0.5", "moclr, student's rate")
FOR_PROCESSORS = ("own 0.5", "random parts, own 0.5", "self, own 0.5", "moclr, student's rate")
UNTRIED = (
    "paper's shares, own 0.5",
    "moclr, larger rate",
    "balanced parts",
    "hierarchical parts",
    "balanced lessons",
    "unit targets",
    "unit targets and predictions",
    "moclr, groups",
)


def ways_of(lines: Sequence[str]) -> dict[str, Way]:
    """The ways of these lines, in this order."""
    return {line: (DIVIDED | CONTROLS)[line] for line in lines}


def longer() -> list[Spec]:
    """The best way, its controls and MoCLR restarted, where it was not looked: many domains, a narrow network, long trainings."""
    lines = ways_of(SOME)
    settings = [
        ("heap", 16, 30),
        ("openclipart", 8, 30),
        ("mixture", 8, 30),
        ("openclipart", 16, 60),
        ("openclipart", 8, 120),
    ]
    settings += [("heap", 8, 30), ("mixture", 16, 60)]
    return [
        spec
        for pile, width, passes in settings
        for seed in range(3)
        for spec in lines_at(pile, width, passes, seed, lines)
    ]


def small() -> list[Spec]:
    """What two cores can do: images of 16 pixels and a network of half the width, so that many domains and budgets of 120 passes are
    in reach."""
    few, some, most = map(ways_of, (FEW, FOR_PROCESSORS, (*FOR_PROCESSORS, "dnc", *UNTRIED)))
    settings = (("openclipart", 30, most), ("openclipart", 60, few), ("openclipart", 120, few), ("heap", 30, some))
    return [
        spec
        for seed in range(5)
        for pile, passes, lines in settings
        for spec in lines_at(pile, 8, passes, seed, lines, size=16)
    ]


def short() -> list[Spec]:
    """Eight passes over two collections, five seeds: where MoCLR has learned least."""
    lines = ways_of((*FOR_PROCESSORS, "dnc"))
    piles = ("openclipart", "fashion")
    return [spec for seed in range(5) for pile in piles for spec in lines_at(pile, 8, 8, seed, lines, size=16)]


def long() -> list[Spec]:
    """1,790 images, 240 passes: of all experiments the ones that show an image most often."""
    lines = ways_of(FOR_PROCESSORS)
    shorter = [Spec("moclr", "emoji", 8, passes, 0, size=16) for passes in (60, 120)]
    return [*shorter, *(spec for seed in range(5) for spec in lines_at("emoji", 8, 240, seed, lines, size=16))]


def read(file: Path) -> list[Row]:
    """Return the rows of a file, or none where there is no file. DataError for a line that is no row."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [_row(file, number, line) for number, line in enumerate(lines, 1)]


def _row(file: Path, number: int, line: str) -> Row:
    try:
        row: Row = json.loads(line)
        _ = name_of(row), row["labels"]
    except (ValueError, LookupError, TypeError) as error:
        reason = printable(str(error))
        raise DataError(f"{printable(file)}: line {number} is no row ({reason}); remove this line") from error
    return row


def name_of(row: Row) -> tuple[object, ...]:
    """What no two rows have in common."""
    return row["pile"], row.get("size", PACKED_FOR), row["width"], row["passes"], row["line"], row["seed"]


def to_do(specs: Sequence[Spec], rows: Sequence[Row]) -> list[Spec]:
    """Return the experiments that have no row yet."""
    done = {name_of(row) for row in rows}
    return [spec for spec in specs if name_of(vars(spec)) not in done]


def trial() -> list[Spec]:
    """Everything once, in minutes without a GPU."""
    return list(lines_at("made", 8, 4, 0, DIVIDED | CONTROLS))


PLANS: dict[str, Callable[[], list[Spec]]] = {
    "ways": every_way,
    "longer": longer,
    "small": small,
    "short": short,
    "long": long,
    "trial": trial,
}
