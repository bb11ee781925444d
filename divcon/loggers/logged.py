"""Send the numbers of a run to its loggers. One that fails is given up with a warning: no number is worth a training."""

import contextlib
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from .. import log
from ..files.integrity import digest, read_json, write_json
from ..files.text import printable
from ..runs.folder import LOGGERS
from ..runs.refusals import refuse_links
from .contract import LoggedRun, Logger
from .registry import logger_named
from .sent import SentSteps

LONGEST = 100  # numbers of a list, such as the sizes of clusters
Scores = Mapping[str, float]


@contextlib.contextmanager
def logged(
    folder: Path, names: Sequence[str], options: Mapping[str, object], scores: Callable[[], Scores]
) -> Iterator[None]:
    """Send the numbers that the block reports to the loggers `names`, and at the end the scores that the run has."""
    if not names or not _is_first_rank():
        yield
        return
    sinks = [Sink(name, folder, options) for name in names]
    before = log.keep

    def keep(record: log.Record) -> None:
        before(record)
        for sink in sinks:
            sink.take(record)

    log.keep = keep
    try:
        yield
    finally:
        log.keep = before
        for sink in sinks:
            sink.close(scores)


class Sink:
    """A logger that is given up at its first failure."""

    def __init__(self, name: str, folder: Path, options: Mapping[str, object]):
        self.name, self.failed = name, False
        self.sent: SentSteps
        self.logger: Logger
        with self._given_up_on_failure():
            refuse_links(folder, [f"{LOGGERS}/{name}", name])
            kept = folder / LOGGERS / name
            self.sent = SentSteps(kept)
            run = LoggedRun(folder, _id_of(folder), options, kept.is_dir(), self.sent.before)
            self.logger = logger_named(name).open_logger(run)
            kept.mkdir(parents=True, exist_ok=True)
            self.line = run.lines

    def take(self, record: log.Record) -> None:
        """Send a record, if it is newer than what was sent of its stage."""
        if self.failed:
            return
        with self._given_up_on_failure():
            sent, values = self.sent.of(record.stage, record.key), numbers(record.values)
            if record.step is None and not sent.summarized:
                self.sent.keep(record.stage, replace(sent, summarized=True))
                self.logger.summarize(sent.space(record.stage), values)
            elif record.step is not None and record.step > sent.step:
                self.sent.keep(record.stage, replace(sent, step=record.step, lines=sent.lines + 1))
                self.logger.log(sent.space(record.stage), record.step, values, self.line)
                self.line += 1

    def close(self, scores: Callable[[], Scores]) -> None:
        """Send the scores, if there are any, and close the logger."""
        if self.failed:
            return
        with self._given_up_on_failure():
            if found := scores():
                self.take(log.Record("scores", None, found, digest(json.dumps(dict(found), sort_keys=True))))
        with self._given_up_on_failure():
            self.logger.close()

    @contextlib.contextmanager
    def _given_up_on_failure(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not self.failed:
                log.warning(f"log={self.name} is given up, the run goes on: {printable(_first_line(error))}")
            self.failed = True


def numbers(values: Mapping[str, object]) -> dict[str, float]:
    """Return the numbers among the values but the step: those of a short list by their positions, `sizes/0`."""
    found = dict[str, float]()
    for name, value in values.items():
        if isinstance(value, list | tuple) and len(value) <= LONGEST:
            found |= numbers({f"{name}/{i}": item for i, item in enumerate(value)})
        elif isinstance(value, int | float) and not isinstance(value, bool) and name != "step":
            found[name] = float(value)
    return found


def _is_first_rank() -> bool:
    from .. import dist  # here, because it loads torch

    return dist.rank() == 0


def _id_of(folder: Path) -> str:
    """The id by which loggers know the run, made once."""
    file = folder / LOGGERS / "id.json"
    if not file.exists():
        write_json(file, {"id": uuid.uuid4().hex[:12]})
    return str(read_json(file)["id"])


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]
