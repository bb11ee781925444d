"""The times at which a training is saved, and the point at which it stops when a signal asks for it."""

import time
from collections.abc import Callable

from .. import dist, signals
from ..files.atomic import fsync
from ..files.text import printable
from ..runs.stage import StageContext
from .metrics import Metrics


class Checkpointer:
    """Saves a training every `context.save_every` seconds, after its last step, and before it stops.

    `save(steps)` writes the checkpoint of so many finished steps, on rank 0. Every rank calls `before_saving` first; it
    may raise an error, and then nothing is saved.
    """

    def __init__(
        self,
        context: StageContext,
        metrics: Metrics,
        save: Callable[[int], None],
        before_saving: Callable[[], None] = lambda: None,
    ):
        self.context, self.metrics, self.save, self.before_saving = context, metrics, save, before_saving
        self.last_save = time.monotonic()

    def after_step(self, step: int) -> None:
        """Save if it is time to, and raise StoppedError or InterruptError if a signal asked the process to stop."""
        steps = self.metrics.steps
        last, (stop, is_time) = step + 1 == steps, dist.any_rank(signals.stop_requested(), self._is_time())
        if stop or last or is_time:
            self.before_saving()
            dist.on_leader(lambda: self._save(step + 1))
            self.last_save = time.monotonic()
        if stop and not last:
            signals.stop(f"{printable(self.context.name)} is saved at step {step + 1:,} of {steps:,}")

    def _is_time(self) -> bool:
        return time.monotonic() - self.last_save >= self.context.save_every

    def _save(self, steps: int) -> None:
        self.context.check_owner()
        fsync(self.metrics.file.path)  # a checkpoint must not be newer than the lines of its steps
        self.save(steps)
        self.context.write_state()
