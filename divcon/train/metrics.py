"""What happens around the steps of a training, whatever a step is."""

import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .. import dist, failpoints, signals
from ..data.loader import Loader
from ..files.atomic import fsync
from ..files.text import printable
from ..log import info, progress
from ..runs.folder import StageFolder
from ..runs.metrics_file import MetricsFile
from ..runs.stage import StageContext, Summary

LINES = 200  # of a training's journal, about


def nothing() -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class TrainingSummary(Summary):
    """What a training took: rates are those of the last process that worked on it."""

    steps: int
    batch_size: int
    images_seen: int
    loss: float | None
    peak_rss_mb: float
    images_per_second: float | None
    data_wait: float | None  # the share of the time that training waited for images

    def in_words(self) -> str:
        if self.images_per_second is None or self.data_wait is None or self.loss is None:
            return ""
        return (
            f": {self.images_seen:,} images, {self.images_per_second:,.0f} a second, "
            f"{self.data_wait:.1%} of the time waiting for them; loss {self.loss:.3f}"
        )


class Metrics:
    """Logging, saving, stopping, and the account in the end, of the steps from `first` on.

    `save` writes a checkpoint of so many steps; before it is asked for, on every rank, `settle` is called."""

    def __init__(
        self,
        context: StageContext,
        loader: Loader,
        *,
        first: int,
        steps: int,
        batch_size: int,
        save: Callable[[int], None],
        settle: Callable[[], None] = nothing,
    ):
        self.context, self.loader, self.save, self.settle = context, loader, save, settle
        self.first, self.steps, self.batch_size = first, steps, batch_size
        self.journal = MetricsFile(StageFolder(context.folder).metrics, first)
        self.begun = self.saved = time.monotonic()
        self.loss: float | None = self.journal.last.get("loss")
        info(f"{context.name}: {steps:,} steps of {batch_size}" + (f", going on from step {first:,}" if first else ""))

    def logs(self, step: int) -> bool:
        """Whether the step is one that has a line in the journal."""
        return step % max(1, self.steps // LINES) == 0 or step + 1 == self.steps

    def log(self, step: int, loss: float, more: Mapping[str, float], note: str = "") -> None:
        """Write the step's line, and say how far it is."""
        self.loss, rates = loss, self._rates(step + 1)
        if dist.rank() == 0:
            self.context.check_owner()
            self.journal.write(
                {"step": step, "loss": loss, **rates, **more, "steps": self.steps, "batch_size": self.batch_size}
            )
            failpoints.at("train.logged")
        speed = f"{rates['images_per_second']:,.0f} images/s, {rates['data_wait']:.1%} waiting for data"
        progress(self.context.name, step + 1, self.steps, "steps", f"{note or f'loss {loss:.3f}'}, {speed}")

    def after(self, step: int) -> None:
        """Save if it is time to, and stop if that was asked for."""
        last, stop = step + 1 == self.steps, dist.any_rank(signals.stop_requested())
        if stop or last or dist.any_rank(time.monotonic() - self.saved >= self.context.save_every):
            self.settle()
            dist.rank_zero_first(lambda: self._save(step + 1))
            self.saved = time.monotonic()
        if stop and not last:
            signals.stop_if_requested(f"{printable(self.context.name)} is saved at step {step + 1:,} of {self.steps:,}")

    def summary(self) -> "TrainingSummary":
        """What the training took."""
        rates = self._last_rates()
        return TrainingSummary(
            steps=self.steps,
            batch_size=self.batch_size,
            images_seen=self.steps * self.batch_size,
            loss=self.loss,
            peak_rss_mb=peak_rss_mb(),
            images_per_second=rates["images_per_second"],
            data_wait=rates["data_wait"],
        )

    def _save(self, step: int) -> None:
        self.context.check_owner()
        fsync(self.journal.path)
        self.save(step)
        self.context.write_state()

    def _last_rates(self) -> dict[str, Any]:
        """Of this process; where it had no step left to do, of the one before."""
        if self.first < self.steps:
            return {**self._rates(self.steps)}
        return {name: self.journal.last.get(name) for name in ("images_per_second", "data_wait")}

    def _rates(self, done: int) -> dict[str, float]:
        seconds = max(time.monotonic() - self.begun, 1e-9)
        seen = (done - self.first) * self.batch_size
        return {"images_per_second": round(seen / seconds, 1), "data_wait": round(self.loader.waited / seconds, 4)}


def peak_rss_mb() -> float:
    """The most memory this process has held, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
