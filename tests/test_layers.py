"""Imports point down (CONTRIBUTING.md has the rows): a file imports from the rows below its own and from its own room, and
no files import each other in a circle."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import divcon

ROOT = Path(divcon.__file__).parent
ROWS = """
__main__
__main__
cli sklearn
api
exports reports
recipes
pipelines
stages
evals curation
train
methods
clustering
nets losses data.loader data.labeled
data.views
data.pixels
data.images
data.index
data.sources
data.decoding data.sampler data.synthetic
loggers
runs
answers
machine config
dist known_errors
files
ranks signals
allocator errors failpoints host_settings log rng spinning
"""
ROW = {room: row for row, rooms in enumerate(ROWS.split("\n")) for room in rooms.split()}


def module_of(file: Path) -> str:
    """Return the dotted name of a file below the package."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file): file for file in ROOT.rglob("*.py")}


def room_of(module: str) -> str:
    """Return the room of a module: a name of ROWS, or an empty text for the package itself."""
    first, second = [*module.split("."), "", ""][:2]
    return f"{first}.{second}" if first == "data" and second else first


def imported(module: str, *, at_load: bool = False) -> Iterator[tuple[str, int]]:
    """Yield the modules of the package that a module imports, with the line; `at_load` leaves out imports inside functions."""
    file = MODULES[module]
    package = module.split(".") if file.stem == "__init__" else module.split(".")[:-1]
    tree = ast.parse(file.read_text())
    for node in tree.body if at_load else ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] == "divcon"):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *(node.module or "").removeprefix("divcon").strip(".").split(".")]).strip(".")
            for alias in node.names:
                whole = f"{base}.{alias.name}".strip(".")
                yield whole if whole in MODULES else base, node.lineno
        elif isinstance(node, ast.Import):
            yield from (
                (a.name.removeprefix("divcon."), node.lineno) for a in node.names if a.name.startswith("divcon.")
            )


def test_every_import_points_down() -> None:
    upward = [
        f"{MODULES[module].relative_to(ROOT)}:{line} imports {target}"
        for module in MODULES
        for target, line in imported(module)
        if (own := room_of(module)) and (other := room_of(target)) and own != other and ROW[other] <= ROW[own]
    ]
    assert not upward


def test_every_room_has_a_row() -> None:
    rooms = {room_of(module) for module in MODULES if module.count(".") or MODULES[module].parent == ROOT}
    assert rooms - {"", "data"} == set(ROW)


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return a circle of the graph; an empty list if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = {module: {target for target, _ in imported(module)} - {module, ""} for module in MODULES}
    assert not circle(graph)


@pytest.mark.parametrize("graph", [{"a": {"b"}, "b": {"a"}}, {"a": {"b"}, "b": {"c"}, "c": {"a"}}])
def test_a_circle_would_be_found(graph: dict[str, set[str]]) -> None:
    assert circle(graph)
