"""The steps that a logger has got, kept in RUN/loggers/NAME, so that a resumed run sends no step twice and never goes back."""

import contextlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..errors import DamagedError
from ..files.integrity import read_json, write_json
from ..runs.json_files import as_record


@dataclass(frozen=True)
class Sent:
    """The last step of a stage that was sent, and the number of its lines.

    `key` stands for what the stage was asked for. A stage that is done again in another way begins again, as `again` times
    another; `summarized` is True when its final numbers were sent.
    """

    key: str
    step: int = -1
    lines: int = 0
    again: int = 1
    summarized: bool = False

    def of(self, key: str) -> "Sent":
        """The same, or, for another key, that of a stage that begins again."""
        return self if key == self.key else Sent(key, lines=self.lines, again=self.again + 1)

    def space(self, stage: str) -> str:
        return stage if self.again == 1 else f"{stage}-{self.again}"


class SentSteps:
    """The last step of each stage that one logger has got. It is written before a line is sent: a kill may lose one line, and repeats none."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.stages: dict[str, Sent] = {}
        self.before = sum(self._read(file.stem).lines for file in folder.glob("*.json"))

    def of(self, stage: str, key: str) -> Sent:
        if stage not in self.stages:
            self.stages[stage] = self._read(stage)
        found = self.stages[stage]
        return found.of(key) if found.key else replace(found, key=key)

    def keep(self, stage: str, sent: Sent) -> None:
        self.stages[stage] = sent
        write_json(self._file(stage), asdict(sent))

    def _read(self, stage: str) -> Sent:
        file = self._file(stage)
        with contextlib.suppress(FileNotFoundError, DamagedError):
            return as_record(Sent, read_json(file), file)
        return Sent("")

    def _file(self, stage: str) -> Path:
        return self.folder / f"{stage.replace('/', '-')}.json"
