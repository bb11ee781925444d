"""Linear classifiers by stochastic gradient descent, for several learning rates side by side, in closed form.

Each epoch may show other features of the same images: those of a new random crop. So the classifiers of all rates learn from an
epoch's features together, and the images are encoded once.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..data.sampler import shuffled
from ..rng import seed_for
from ..train.schedules import learning_rate

MOMENTUM = 0.9  # Nesterov's


class SgdClassifiers:
    """A linear classifier for each of r learning rates: `weight` [r, d, classes] and `bias` [r, 1, classes], zero at first.

    A rate is for a batch of 256 images and grows in proportion to the batch. It falls to 0 by a cosine over all epochs.
    """

    def __init__(
        self, d: int, classes: int, rates: Sequence[float], *, n: int, epochs: int, batch_size: int, seed: int
    ):
        self.n, self.batch_size, self.seed = n, min(batch_size, n), seed
        self.rates = torch.tensor(rates).view(-1, 1, 1) * self.batch_size / 256
        self.weight, self.bias = (torch.zeros(len(rates), rows, classes) for rows in (d, 1))
        self.momentum = [torch.zeros_like(self.weight), torch.zeros_like(self.bias)]
        self.step, self.steps = 0, epochs * -(-n // self.batch_size)

    def learn(self, x: Float[Tensor, "n d"], y: Int64[Tensor, " n"], epoch: int) -> None:
        """Learn from each row once, in batches of rows in an order that the seed and the epoch give."""
        order = torch.from_numpy(shuffled(np.arange(self.n), self.n, seed_for(self.seed, "sgd", epoch)))
        for rows in torch.split(order, self.batch_size):
            self._learn_batch(x[rows], y[rows])

    def _learn_batch(self, x: Float[Tensor, "b d"], y: Int64[Tensor, " b"]) -> None:
        """Move along the gradient of the mean cross-entropy: with e = (softmax - onehot) / b, x' e and the sum of e."""
        error = (x @ self.weight + self.bias).softmax(2)
        error[:, torch.arange(len(y)), y] -= 1
        error /= len(y)
        gradients = [x.T @ error, error.sum(1, keepdim=True)]
        rate = self.rates * learning_rate(self.step, self.steps, peak=1.0, warmup=0)
        for parameter, momentum, gradient in zip((self.weight, self.bias), self.momentum, gradients, strict=True):
            momentum.mul_(MOMENTUM).add_(gradient)
            parameter.sub_(rate * (gradient + MOMENTUM * momentum))
        self.step += 1

    def logits(self, x: Float[Tensor, "m d"], rate: int) -> Float[Tensor, "m classes"]:
        """Return the logits of the classifier of a rate, by its place."""
        return torch.addmm(self.bias[rate], x, self.weight[rate])
