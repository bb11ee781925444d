"""Weighted nearest neighbors: what an encoder knows, without training anything on top of it."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..clustering.neighbors import nearest
from ..machine import Precision


def knn(
    train_x: Float[Tensor, "n d"],
    train_y: Int64[Tensor, " n"],
    test_x: Float[Tensor, "m d"],
    test_y: Int64[Tensor, " m"],
    *,
    ks: Sequence[int] = (20, 200),
    temperature: float = 0.07,
    precision: Precision = "fp32",
) -> dict[int, float]:
    """For each k, the share of the test images whose class wins the vote of their k nearest training images (of all of
    them, where there are fewer). `precision` is that of the search, and changes no neighbor."""
    told = winners(train_x, train_y, test_x, ks=ks, temperature=temperature, precision=precision)
    return {k: float((told[k] == test_y).double().mean()) for k in ks}


def winners(
    train_x: Float[Tensor, "n d"],
    train_y: Int64[Tensor, " n"],
    test_x: Float[Tensor, "m d"],
    *,
    ks: Sequence[int],
    temperature: float = 0.07,
    precision: Precision = "fp32",
) -> dict[int, Int64[Tensor, " m"]]:
    """For each k the class that wins the vote of each test image's neighbors."""
    classes = int(train_y.max()) + 1
    similarity, index = nearest(test_x, train_x, min(max(ks), len(train_x)), precision=precision)
    voters = train_y[index]
    return {k: votes(similarity[:, :k], voters[:, :k], classes, temperature) for k in ks}


def votes(
    similarity: Float[Tensor, "m k"], voters: Int64[Tensor, "m k"], classes: int, temperature: float
) -> Int64[Tensor, " m"]:
    """argmax_c of the sum of exp(s_i / T) over the neighbors i of class c; of equals, the first class.

    exp((s_i - 1) / T) has the same winner, and stays finite at any temperature.
    """
    winners = []
    for s, y in zip(torch.split(similarity.double(), 4096), torch.split(voters, 4096)):
        scores = torch.zeros(len(s), classes, dtype=torch.float64, device=s.device)
        winners.append(scores.scatter_add_(1, y, ((s - 1) / temperature).exp()).argmax(1))
    return torch.cat(winners)
