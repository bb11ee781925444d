"""A step of a training, and a batch of noise, for those who measure."""

import numpy as np
import torch

from ..machine import Machine
from ..methods.contract import Batch, Method, Step
from ..stages.learning import NetworkTraining
from ..train.encode import to_input
from ..train.loop import train_step


def noise_batch(recipe: NetworkTraining, method: Method, machine: Machine) -> Batch:
    """Return a batch of noise in the views that a training shows."""
    rng = np.random.default_rng(0)
    views = [
        to_input(
            rng.integers(0, 256, (recipe.batch_size, view.size, view.size, 3), np.uint8), recipe.input_spec, machine
        )
        for view in method.views(recipe.pair())
    ]
    return Batch(views, torch.arange(recipe.batch_size, device=machine.device))


def step_on(method: Method, optimizer: torch.optim.Optimizer, batch: Batch, machine: Machine) -> float:
    """Do a whole step of a training on the batch, and return the loss."""
    at = Step(0, 1, 0)
    outcome = train_step(method, optimizer, batch, at, 0.0, machine)
    method.after_step(outcome.update, at)
    return float(outcome.loss.detach())
