"""The metrics of a training: the lines of metrics.jsonl, its progress in the log, and its summary."""

import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

from .. import dist, failpoints
from ..data.loader import Loader
from ..log import info, progress, record
from ..runs.folder import StageFolder
from ..runs.metrics_file import MetricsFile
from ..runs.stage import StageContext, Summary
from .cores import CoresMonitor

LINES = 200  # a long training logs at least so many steps, and fewer than twice as many


@dataclass(frozen=True)
class TrainingSummary(Summary):
    """The length, the result and the cost of a training, as stage.json keeps them.

    `loss` is that of the last logged step. `images_per_second` and `data_wait`, the share (0..1) of the time that was
    spent on waiting for batches, are those of the last process that did a step.
    """

    steps: int
    batch_size: int
    images_seen: int
    loss: float | None
    peak_rss_mb: float
    images_per_second: float | None
    data_wait: float | None

    def in_words(self) -> str:
        if self.images_per_second is None or self.data_wait is None or self.loss is None:
            return ""
        return (
            f": {self.images_seen:,} images, {self.images_per_second:,.0f} a second, "
            f"{self.data_wait:.1%} of the time waiting for them; loss {self.loss:.3f}"
        )


class Metrics:
    """Logs the steps of a training from `first` on, and summarizes the whole training at its end.

    `steps` is the number of all steps; `batch_size` is that of all ranks together.
    """

    def __init__(self, context: StageContext, loader: Loader, *, first: int, steps: int, batch_size: int):
        self.context, self.loader, self.cores = context, loader, CoresMonitor(context)
        self.first, self.steps, self.batch_size = first, steps, batch_size
        self.file = MetricsFile(StageFolder(context.folder).metrics, first)
        if dist.is_leader():
            self.file.cut()
        self.loss: float | None = self.file.last.get("loss")
        self.note = "" if self.loss is None else f"loss {self.loss:.3f}"
        self.begin = time.monotonic()
        info(f"{context.name}: {steps:,} steps of {batch_size}" + (f", going on from step {first:,}" if first else ""))

    def is_logged(self, step: int) -> bool:
        """Return True if the step gets a line in metrics.jsonl."""
        return step % max(1, self.steps // LINES) == 0 or step + 1 == self.steps

    def log(self, step: int, loss: float, values: Mapping[str, float], note: str = "") -> None:
        """Write the line of a step. `note` replaces the loss in the reports of progress that follow."""
        self.loss, self.note = loss, note or f"loss {loss:.3f}"
        line = {"step": step, "loss": loss, **self._rates(step + 1), **values}
        if dist.is_leader():
            self.context.check_owner()
            self.file.write({**line, "steps": self.steps, "batch_size": self.batch_size})
            failpoints.at("train.logged")
            record(self.context.name, step, line, self.context.key_digest)

    def report(self, step: int) -> None:
        """Report the progress after a step, with the loss of the last logged one: that of each step would have to be waited for."""
        self.cores.after_step()
        rates = self._rates(step + 1)
        speed = f"{rates['images_per_second']:,.0f} images/s, {rates['data_wait']:.1%} waiting for data"
        note = f"{self.note}, {speed}"
        progress(self.context.name, step + 1, self.steps, "steps", note, **rates, loss=self.loss)

    def summary(self) -> TrainingSummary:
        """Return the summary of the finished training."""
        rates = self._rates(self.steps) if self.first < self.steps else self.file.last
        return TrainingSummary(
            steps=self.steps,
            batch_size=self.batch_size,
            images_seen=self.steps * self.batch_size,
            loss=self.loss,
            peak_rss_mb=peak_rss_mb(),
            images_per_second=rates.get("images_per_second"),
            data_wait=rates.get("data_wait"),
        )

    def _rates(self, done: int) -> dict[str, float]:
        """The images per second, and the share of the time spent on waiting for batches, since the process began."""
        seconds = max(time.monotonic() - self.begin, 1e-9)
        images = (done - self.first) * self.batch_size
        return {"images_per_second": round(images / seconds, 1), "data_wait": round(self.loader.waited / seconds, 4)}


def peak_rss_mb() -> float:
    """Return the largest amount of memory that this process has held so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
