"""Patterns of paths, as they are typed for shards: `shards/{000..123}.tar`, `shards/*.tar`."""

import math
import os
import re
from collections.abc import Iterator, Sequence
from glob import glob, has_magic
from itertools import product
from pathlib import Path

from ...errors import UsageError

MAX_PATHS = 1_000_000
BRACES = re.compile(r"\{([^{}]*)\}")
RANGE = re.compile(r"([0-9]{1,12})\.\.([0-9]{1,12})")


def is_pattern(path: Path) -> bool:
    """Return true for a path with braces or with glob's special characters."""
    return bool(BRACES.search(str(path))) or has_magic(str(path))


def matching_paths(path: Path) -> list[Path]:
    """Return the path itself where it exists, else the paths that its braces and its glob pattern stand for."""
    if path.exists():
        return [path]
    return [Path(match) for text in expand_braces(str(path)) for match in _glob(text)]


def _glob(text: str) -> list[str]:
    return sorted(glob(text)) if has_magic(text) and not os.path.lexists(text) else [text]  # noqa: PTH207 - it may begin at the root


def expand_braces(pattern: str) -> Iterator[str]:
    """Yield the texts that braces stand for: `{000..123}` counts, with as many digits, and `{a,b}` lists."""
    pieces = BRACES.split(pattern)
    choices = [_choices(piece) if i % 2 else [piece] for i, piece in enumerate(pieces)]
    count = math.prod(map(len, choices))
    if count > MAX_PATHS:
        raise UsageError(f"{pattern}: that is {count:,} shards; {MAX_PATHS:,} at most")
    for texts in product(*choices):
        yield "".join(texts)


def _choices(braces: str) -> Sequence[str]:
    bounds = RANGE.fullmatch(braces)
    if not bounds:
        return braces.split(",") if "," in braces else [f"{{{braces}}}"]
    first, last = bounds.groups()
    numbers = range(int(first), int(last) + 1)
    if not 0 < len(numbers) <= MAX_PATHS:
        raise UsageError(f"{{{braces}}}: from the smaller to the larger number, and {MAX_PATHS:,} of them at most")
    return [f"{n:0{len(first)}}" for n in numbers]
