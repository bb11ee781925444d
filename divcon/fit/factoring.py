"""Non-negative factors of a collection's pixels: scikit-learn's MiniBatchNMF, given one batch after another."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load

from .. import faults, signals
from ..artifacts import end, read_ended, show, whole, write_tensors
from ..data.loader import Loader
from ..data.order import Order
from ..data.pixels import Pixels
from ..data.views import centre
from ..errors import DamagedError, InputError
from ..log import say, tick, warn
from ..nets.factors import Factors
from ..nets.trained import Sight
from ..rng import seed_for
from ..runs import Work
from .journal import Journal
from .looking import as_input
from .schedules import steps_for

LEARNT = {
    "components": "components_",
    "numerator": "_components_numerator",
    "denominator": "_components_denominator",
}  # what a step changes of scikit-learn's model
FORGET = 0.7  # what one pass leaves of what the passes before it added up to: scikit-learn's own

Rows = NDArray[np.float32]


def factor(
    work: Work, factors: Factors, pixels: Pixels, sight: Sight, *, images: float, batch_size: int, seed: int
) -> None:
    """Fit the factors' components to centre views of the pictures, from the newest checkpoint if there is one."""
    order, steps = Order(len(pixels), batch_size, seed), steps_for(images, batch_size)
    loader = Loader(pixels, order, (centre(sight.size),), seed=seed, readers=work.machine.readers)

    def rows(step: int) -> Rows:
        return np.asarray(as_input(loader.batch(step).views[0], sight, work.machine).cpu().flatten(1), np.float32)

    newest = work.folder / "checkpoints" / "step-newest"
    model = solver(factors.num_features, batch_size / len(pixels), seed)
    first = _resumed(model, newest, rows) if newest.exists() else 0
    if first:
        factors.components.copy_(torch.from_numpy(model.components_))
    course = _Course(work, newest, first, steps, batch_size, loader)
    say(f"{work.name}: {steps:,} steps of {batch_size}" + (f", going on from step {first:,}" if first else ""))
    for step in range(first, steps):
        seen = rows(step)
        model.partial_fit(seen)
        factors.components.copy_(torch.from_numpy(model.components_))
        faults.at("factors.stepped")
        course.after(step, model, factors, seen)
    course.end()


def solver(components: int, share: float, seed: int) -> Any:
    """scikit-learn's model for batches that are this share of the collection."""
    try:
        from sklearn.decomposition import MiniBatchNMF
    except ImportError as error:
        raise InputError("recipe=nmf needs scikit-learn; type: pip install 'divcon[rivals]'") from error
    state = seed_for(seed, "weights") % 2**32
    return MiniBatchNMF(components, init="random", forget_factor=FORGET ** min(1.0, share), random_state=state)


def _resumed(model: Any, newest: Path, rows: Any) -> int:
    """Put back what the steps before have learnt; which step is next: the first, where that is damaged."""
    try:
        kept = load(read_ended(newest))
    except DamagedError as error:
        warn(f"{error}. This stage begins anew")
        return 0
    step = int(kept["step"])
    model.partial_fit(rows(step))  # only to have all else set up; what it learnt is replaced
    for name, its in LEARNT.items():
        setattr(model, its, kept[name].numpy())
    return step


class _Course:
    """What happens around the steps: logging, saving, stopping, and the account in the end."""

    def __init__(self, work: Work, newest: Path, first: int, steps: int, batch_size: int, loader: Loader):
        self.work, self.newest, self.loader = work, newest, loader
        self.first, self.steps, self.batch_size = first, steps, batch_size
        self.every = max(1, steps // 200)
        self.journal = Journal(work.folder / "metrics.jsonl", first)
        self.begun = self.saved = time.monotonic()
        self.loss: float | None = self.journal.last.get("loss")

    def after(self, step: int, model: Any, factors: Factors, seen: Rows) -> None:
        last = step + 1 == self.steps
        if step % self.every == 0 or last:
            self._log(step, factors, seen)
        if signals.asked() or last or time.monotonic() - self.saved >= self.work.save_every:
            self._save(step + 1, model)
        if not last:
            signals.stop_here(f"{show(self.work.name)} is saved at step {step + 1:,} of {self.steps:,}")

    def end(self) -> None:
        self.work.notes |= {
            "steps": self.steps, "batch_size": self.batch_size, "images_seen": self.steps * self.batch_size,
            "loss": self.loss, **self._last_rates(),
        }  # fmt: skip

    def _log(self, step: int, factors: Factors, seen: Rows) -> None:
        """The loss is the squared error of a pixel's colour."""
        x = torch.from_numpy(seen)
        self.loss = loss = float((x - factors.put_together(factors.amounts(x))).square().mean())
        line = {"step": step, "loss": loss, "steps": self.steps, "batch_size": self.batch_size}
        self.journal.write(line | self._rates(step + 1))
        tick(self.work.name, step + 1, self.steps, "steps", f"squared error {loss:.4f}")

    def _save(self, step: int, model: Any) -> None:
        learnt = {name: torch.from_numpy(getattr(model, its)) for name, its in LEARNT.items()}
        with whole(self.newest) as part:
            write_tensors(part, {**learnt, "step": torch.tensor(step)})
            end(part)
        faults.at("factors.kept")
        self.work.write_state("running")
        self.saved = time.monotonic()

    def _last_rates(self) -> dict[str, float | None]:
        """Of this process; where it had no step left to do, of the one before."""
        if self.first < self.steps:
            return {**self._rates(self.steps)}
        return {name: self.journal.last.get(name) for name in ("images_per_second", "data_wait")}

    def _rates(self, done: int) -> dict[str, float]:
        seconds = max(time.monotonic() - self.begun, 1e-9)
        rate = (done - self.first) * self.batch_size / seconds
        return {"images_per_second": round(rate, 1), "data_wait": round(self.loader.waited / seconds, 4)}
