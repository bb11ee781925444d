"""Experts do not depend on one another: what happens to one changes nothing of another that is finished."""

import shutil
from pathlib import Path

import pytest
from conftest import TINY
from test_faults import kill
from test_pipeline import EPOCHS, command, finished, stable

import divcon
from divcon import log
from divcon.errors import FaultError
from divcon.log import Progress

ENDS: dict[str, type[BaseException]] = {
    "numbers that went wrong": FaultError, "no memory": MemoryError, "Ctrl-C": KeyboardInterrupt, "a mistake of ours": KeyError,
}  # fmt: skip


def marks(stage: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file with what would change if it were written again."""
    files = [path for path in stage.rglob("*") if path.is_file()]
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def fail(stage: str, how: str, photos: Path, run: Path) -> None:
    """Go on with a run until the stage has made three steps, and have it end."""
    if how == "killed":
        kill(command(photos, run, "save_every=0"), "train.stepped:3", run)
        return

    def end(tick: Progress) -> None:
        if tick.what == stage and tick.done == 3:
            raise ENDS[how]("injected")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(BaseException, match="injected"):
        patch.setattr(log, "watch", end)
        divcon.run(photos, out=run, epochs=EPOCHS, save_every=0, **TINY)


@pytest.mark.parametrize(("number", "how"), [(0, "killed"), *((i % 2, how) for i, how in enumerate(ENDS))])
def test_a_failure_of_one_expert_loses_nothing_of_a_finished_one(
    photos: Path, tmp_path: Path, number: int, how: str
) -> None:
    run = shutil.copytree(finished(photos), tmp_path / "run")
    stage, other = f"experts/{number}", f"experts/{1 - number}"
    assert divcon.redo(run, stage).removed == [stage, "checks", "student"]
    before = marks(run / other)
    for _ in range(2):  # as often as one likes
        fail(stage, how, photos, run)
        assert marks(run / other) == before
        states = {name: account.state for name, account in divcon.status(run).stages.items()}
        assert states[other] == "done" and states[stage] in ("failed", "interrupted")
    ran = divcon.run(photos, out=run, epochs=EPOCHS, **TINY)
    assert ran.did == [stage, "checks", "student"] and marks(run / other) == before
    assert stable(run) == stable(finished(photos))
