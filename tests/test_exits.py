"""Exit codes and messages are an interface: a message for each code says what is wrong, where, and what to type next."""

import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from test_pipeline import command, finished, typed
from torch import nn

from divcon import errors, signals
from divcon.data.index import worker_pool
from divcon.nets.encoder import build
from divcon.stages import learning


@dataclass(frozen=True)
class Row:
    """A command (RUN, NEW, DATA, FEW and FILE stand for folders and a file) and its last line on stderr."""

    code: int
    words: str
    what: str
    where: str
    next: str
    more: list[str] = field(default_factory=list)  # options of a run


ROWS = [
    Row(0, "run DATA out=RUN", "nothing to do", "RUN", "is done"),
    Row(64, "run DATA out=NEW", "unknown option 'epcohs'", "epcohs", "did you mean 'epochs'", ["epcohs=3"]),
    Row(64, "run DATA out=RUN", "clusters.k was 2, is 3", "RUN", "out=.*divcon redo RUN", ["clusters.k=3"]),
    Row(65, "run FEW out=NEW", "too few to train on", "3 images", "at least 16 different ones are needed"),
    Row(65, "eval RUN FEW", "0 classes", "FEW", "a subfolder for each of at least two classes"),
    Row(66, "look NOWHERE", "there is no folder", "NOWHERE", "look for it with `ls"),
    Row(66, "status DATA", "is not a run", "DATA", r"there is no run\.json in it"),
    Row(70, "run DATA out=NEW", "weights were not moved", "step 1", "Lower the stage's lr", ["base.lr=1e30"]),
    Row(70, "run DATA out=NEW", "nearly the same for all images", r"base at step \d+ of", "What helps: .*--allow-collapse", ["epochs=80"]),
    Row(71, "run DATA out=NEW cache=EMPTY", "can't be started", "the process that decodes images", "Try `false`"),
    Row(73, "run DATA out=FOREIGN", "holds something else than a run", "FOREIGN", "name another folder"),
    Row(73, "run DATA out=FILE", "is a file", "FILE", "name a folder that is not there yet"),
    Row(74, "run DATA out=NEW", "File too large", "NEW", "make room, then type the same command again", ["save_every=0"]),
    Row(74, "run DATA out=FILE/run", "can't write .*: Not a directory", "FILE/run", r"name another place \(out=, cache=\)"),
    Row(69, "run DATA out=NEW --only student", "base is not done yet", "stage base", "type the same command without --only"),
    Row(75, "run DATA out=NEW", "stopped by SIGTERM", "nothing was begun", "type the same command again to go on"),
    Row(130, "run DATA out=NEW", "stopped by SIGINT", "nothing was begun", "type the same command again to go on"),
]  # fmt: skip


@torch.no_grad()
def blank(encoder: nn.Module) -> nn.Module:
    """Set all weights to zero, so that all features are equal."""
    for parameter in encoder.parameters():
        parameter.zero_()
    return encoder


@contextmanager
def conditions(row: Row) -> Iterator[None]:
    """Set up the fault of a row: a worker that can't start, a full disk, a signal, or a network without weights."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.MonkeyPatch.context() as patch:
        if row.code == 71:
            patch.setattr(
                worker_pool.check_files,
                "__kwdefaults__",
                {**(worker_pool.check_files.__kwdefaults__ or {}), "command": ("false",)},
            )
        if "the same for all images" in row.what:
            patch.setattr(learning, "build", lambda *of: blank(build(*of)))
        if row.what == "File too large":
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        for number, code in ((15, 75), (2, 130)):
            if row.what.startswith("stopped by") and row.code == code:
                patch.setattr(signals, "_received", [number])
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.code}: {row.what}")
def test_a_command_that_ends_with_a_code_says_what_where_and_what_next(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], row: Row
) -> None:
    places = {"DATA": photos, "RUN": finished(photos)}
    places |= {name: tmp_path / name.lower() for name in ("NEW", "FEW", "EMPTY", "NOWHERE", "FOREIGN", "FILE")}
    for name in ("FEW", "FOREIGN"):
        places[name].mkdir()
    for path in sorted(photos.glob("*/*"))[:3]:
        (places["FEW"] / path.name).write_bytes(path.read_bytes())
    (places["FOREIGN"] / "thesis.tex").write_text("precious")
    places["FILE"].write_text("precious")

    def spelled(text: str) -> str:
        return re.sub("|".join(places), lambda match: str(places[match[0]]), text)

    words = [spelled(word) for word in row.words.split()]
    if words[0] == "run":
        mine = [word.partition("=")[0] for word in (*row.more, *words)]
        words += [word for word in command(photos, tmp_path)[3:] if word.partition("=")[0] not in mine] + row.more
    with conditions(row):
        code = typed(words)
    line = capsys.readouterr().err.splitlines()[-1]
    assert (code, "Traceback" in line) == (row.code, False), line
    for part in (row.what, row.where, row.next):
        assert re.search(spelled(part), line), (part, line)


def test_every_code_of_an_error_has_a_row() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.Error)]
    codes = {kind.code for kind in kinds} - {errors.Error.code}
    assert {row.code for row in ROWS} == {0, 130, *codes}
