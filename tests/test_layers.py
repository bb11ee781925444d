"""Imports point down (design.md, section 3): a module may import from the rows below its own, and from its own folder."""

import ast
from collections.abc import Iterator
from pathlib import Path

import divcon

ROOT = Path(divcon.__file__).parent
ROWS = [
    "cli", "verbs", "recipes", "dnc rivals", "stages", "evals", "methods fit", "following", "method clustering", "nets losses data",
    "runs", "book", "records", "config locks signals machine paths", "caches", "artifacts", "allocator ambient dist faults rng log errors",
]  # fmt: skip
ROW = {part: row for row, parts in enumerate(ROWS) for part in parts.split()}


def imported(file: Path) -> Iterator[tuple[str, int]]:
    """The part of the package that each import of a file takes from, and the import's line."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = file.parents[node.level - 1].relative_to(ROOT).parts
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from (
                (f"{'/'.join(folder)}/{name}".strip("/").replace(".", "/").split("/")[0], node.lineno) for name in names
            )
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from ((name.split(".")[1], node.lineno) for name in names if name.startswith("divcon."))


def test_every_import_points_down() -> None:
    files = [file for file in ROOT.rglob("*.py") if file.parent != ROOT or file.stem != "__init__"]
    upward = [
        f"{file.relative_to(ROOT)}:{line} imports {part}"
        for file in files
        for part, line in imported(file)
        if (own := file.relative_to(ROOT).with_suffix("").parts[0]) != part and part in ROW and ROW[part] <= ROW[own]
    ]
    assert not upward
    assert {file.relative_to(ROOT).with_suffix("").parts[0] for file in files} == set(ROW)
