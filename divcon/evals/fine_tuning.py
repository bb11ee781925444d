"""An encoder and a linear classifier that are trained together on labeled images, from the encoder's weights."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data.loader import Loader
from ..data.pixels.pixels import Pixels
from ..data.sampler import Sampler
from ..data.views.presets import crop
from ..log import progress
from ..machine import Machine
from ..methods.classify import Classify
from ..methods.contract import Step
from ..nets.trained import Trained
from ..rng import seed_for
from ..train.encode import encode
from ..train.loop import as_batch, train_step
from ..train.schedules import learning_rate, steps_for

LEAST_STEPS = 8  # of an epoch: a batch is at most an eighth of the images


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """A training of all weights by SGD with Nesterov momentum, without weight decay: `rate` falls to 0 by a cosine."""

    rate: float
    epochs: int
    batch_size: int
    seed: int


class FineTuned:
    """A copy of a model's encoder, with a classifier that is zero at first, trained on the images at `positions`."""

    def __init__(self, model: Trained, pixels: Pixels, labels: Int64[np.ndarray, " n"], machine: Machine):
        self.pixels, self.machine, self.input_spec = pixels, machine, model.input_spec
        self.method = Classify(copy.deepcopy(model.net.encoder), len(labels), torch.from_numpy(labels))
        for parameter in self.method.classifier.parameters():
            nn.init.zeros_(parameter)

    def fit(self, positions: NDArray[np.int64], recipe: FineTuning) -> None:
        """Train on the images at `positions`, on random crops. Raises FaultError if the loss is not finite any more."""
        batch_size = min(recipe.batch_size, max(2, len(positions) // LEAST_STEPS))
        loader = self._loader(positions, batch_size, recipe.seed)
        method = self.machine.to_device(self.method).train()
        optimizer = torch.optim.SGD(method.parameters(), lr=recipe.rate, momentum=0.9, nesterov=True, fused=True)
        steps = steps_for(recipe.epochs * len(positions), batch_size)
        for step in range(steps):
            torch.manual_seed(seed_for(recipe.seed, "fine-tuning", step))  # for dropout
            batch = as_batch(loader.batch(step), self.input_spec, self.machine)
            rate = learning_rate(step, steps, peak=recipe.rate, warmup=0)
            train_step(method, optimizer, batch, Step(step, steps, loader.sampler.epoch(step)), rate, self.machine)
            progress("fine-tuning", (step + 1) * batch_size, steps * batch_size)

    def _loader(self, positions: NDArray[np.int64], batch_size: int, seed: int) -> Loader:
        sampler = Sampler(len(positions), batch_size, seed)
        views = crop(self.input_spec.size)[:1]
        loader = Loader(self.pixels, sampler, views, seed=seed, workers=self.machine.workers)
        loader.resample(positions)
        return loader

    def logits(self, positions: NDArray[np.int64]) -> Float[Tensor, "m classes"]:
        """Return the logits of the center views of the images at `positions`."""
        net, spec = self.method.net, self.input_spec
        x = encode(net, spec, self.pixels, self.machine, layer="pool", positions=positions)
        with torch.no_grad():
            logits: Tensor = self.method.classifier(x.to(self.machine.device))
        return logits.float().cpu()
