"""The notebook among the examples: its cells run in order on a run, and it is stored without outputs."""

import ast
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_pipeline import finished

import divcon

NOTEBOOK = Path(__file__).parent.parent / "examples/look_around.ipynb"


def code_cells() -> list[dict[str, Any]]:
    return [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]


def run_cells(**parameters: object) -> tuple[dict[str, Any], list[Any]]:
    """Run the cells in one namespace, as Jupyter does, and return it with the value that each cell shows.

    The cell tagged "parameters" is followed by these values of its names.
    """
    names: dict[str, Any] = {}
    shown = []
    for cell in code_cells():
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, str(NOTEBOOK), "exec"), names)
        if "parameters" in cell["metadata"].get("tags", []):
            assert parameters.keys() <= names.keys()
            names.update(parameters)
        if isinstance(last, ast.Expr):
            shown.append(eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names))
    return names, shown


def test_the_notebook_looks_around_in_a_run(photos: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished(photos), tmp_path / "run", ignore=shutil.ignore_patterns("evals", "features"))
    names, shown = run_cells(RUN=str(run), LABELED=str(photos))
    assert shown[0] == divcon.status(run) and "<table>" in shown[0]._repr_html_()
    assert set(shown[1]) == {"base", "student"} and all(0 <= found["knn"] <= 1 for found in shown[1].values())
    assert (
        shown[2][0] == 160
        and len(shown[3]) == 8
        and shown[3][0] in {str(path.relative_to(photos)) for path in photos.glob("*/*")}
    )
    pictures = [value for value in shown if isinstance(value, Image.Image)]
    assert len(pictures) == 2 and all(np.asarray(picture).std() > 10 for picture in pictures)
    assert sum(names["sizes"]) == 160 and len(names["rows"]) == len(names["sizes"])
    assert names["nearest"][0] == names["QUESTION"] == shown[5][0] and shown[5][1] > 0.99


def test_a_run_without_clusters_and_without_labels_can_be_looked_at_too(
    photos: Path, tmp_path: Path, tiny: dict[str, Any]
) -> None:
    options = {name: value for name, value in tiny.items() if not name.startswith("clusters.")}
    run = divcon.run(photos, out=tmp_path / "run", recipe="simclr", epochs=0.5, **options).folder
    names, shown = run_cells(RUN=str(run))
    assert names["sizes"] == [] and shown[1] == {}


@pytest.mark.parametrize("field", ["outputs", "execution_count"])
def test_the_notebook_is_stored_without_what_a_machine_has_shown(field: str) -> None:
    assert not any(cell[field] for cell in code_cells())
