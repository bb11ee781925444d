"""Threads that wait for each other spin for a limited time, if torch is not loaded yet and the user has set nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from divcon.spinning import SPIN_COUNT, WAIT_SETTINGS, limit_spinning

SHOWN = {"OMP_DISPLAY_ENV": "verbose"}  # libgomp prints its settings when it is loaded
TRAINED = """
import hashlib, sys
from pathlib import Path
import divcon.api
from test_methods import BATCH, built, toy_pixels
from divcon.data.views.presets import PRESETS
from divcon.machine import Machine
from divcon.nets.trained import InputSpec
from divcon.runs.stage import StageContext
from divcon.train.loop import Training, fit
folder, machine, method = Path(sys.argv[1]), Machine(compute_threads=2, workers=2), built("moclr")
with machine.use():
    context = StageContext(folder, "moclr", machine, folder)
    fit(context, method, toy_pixels(), Training(3 * BATCH, BATCH), PRESETS["mild"](16), InputSpec(16))
for name, value in sorted(method.state_dict().items()):
    print(name, hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest())
"""


def python(code: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the code in a process without settings of how threads wait, except those given."""
    clean = {name: value for name, value in os.environ.items() if name not in WAIT_SETTINGS}
    clean["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, env=clean | environment, capture_output=True, text=True, check=True)


@pytest.mark.parametrize("first", ["divcon.run", "divcon.load", "divcon.embed"])
def test_the_library_of_the_threads_gets_the_limit_from_each_verb(first: str) -> None:
    shown = python(f"import divcon; {first}; import torch", **SHOWN).stderr
    assert f"GOMP_SPINCOUNT = '{SPIN_COUNT}'" in shown or "GOMP_SPINCOUNT" not in shown, shown


def test_the_command_line_sets_the_limit_before_torch_is_loaded() -> None:
    code = "import os, sys, divcon.cli; divcon.cli.verbs(); import divcon.api; print('torch' in sys.modules, os.environ['GOMP_SPINCOUNT'])"
    assert python(code).stdout.split() == ["False", SPIN_COUNT]


def test_the_import_of_the_package_changes_nothing_for_a_program() -> None:
    assert python("import os, divcon; print(os.environ.get('GOMP_SPINCOUNT'))").stdout.split() == ["None"]


@pytest.mark.parametrize("name", WAIT_SETTINGS)
def test_what_a_user_has_set_stays(name: str) -> None:
    environment = {name: "7"}
    limit_spinning(environment, loaded=())
    assert environment == {name: "7"}


def test_a_program_that_has_loaded_torch_before_keeps_its_setting() -> None:
    environment = dict[str, str]()
    limit_spinning(environment, loaded=("torch",))
    assert environment == {}
    limit_spinning(environment, loaded=())
    assert environment == {"GOMP_SPINCOUNT": SPIN_COUNT}


@pytest.mark.slow
def test_the_limit_changes_no_bit_of_a_training(tmp_path: Path) -> None:
    """Three steps on two threads: with the limit, and with libgomp's own."""
    settings: list[dict[str, str]] = [{}, {"GOMP_SPINCOUNT": "300000"}]
    limited, unlimited = (
        python(TRAINED, str(tmp_path / str(i)), **setting).stdout for i, setting in enumerate(settings)
    )
    assert limited == unlimited and len(limited.splitlines()) > 10
