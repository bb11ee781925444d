"""Weighted k-nearest-neighbor classification on frozen features (Wu et al. 2018, section 3.4)."""

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
    """Return, for each k, the accuracy on the test images when their k nearest training images vote (all of them, if
    there are fewer). `precision` is that of the search, and changes no neighbor."""
    predictions = predict_knn(train_x, train_y, test_x, ks=ks, temperature=temperature, precision=precision)
    return {k: float((predictions[k] == test_y).double().mean()) for k in ks}


def predict_knn(
    train_x: Float[Tensor, "n d"],
    train_y: Int64[Tensor, " n"],
    test_x: Float[Tensor, "m d"],
    *,
    ks: Sequence[int],
    temperature: float = 0.07,
    precision: Precision = "fp32",
) -> dict[int, Int64[Tensor, " m"]]:
    """Return, for each k, the class that the k nearest training images of each test image vote for."""
    classes = int(train_y.max()) + 1
    similarity, index = nearest(test_x, train_x, min(max(ks), len(train_x)), precision=precision)
    neighbor_y = train_y[index]
    return {k: vote(similarity[:, :k], neighbor_y[:, :k], classes, temperature) for k in ks}


def vote(
    similarity: Float[Tensor, "m k"], neighbor_y: Int64[Tensor, "m k"], classes: int, temperature: float
) -> Int64[Tensor, " m"]:
    """Return argmax_c of the sum of exp(s_i / T) over the neighbors i of class c; of equals, the first class.

    The code uses exp((s_i - 1) / T): it has the same argmax, and is finite at any temperature.
    """
    predictions = []
    for s, y in zip(torch.split(similarity.double(), 4096), torch.split(neighbor_y, 4096)):
        scores = torch.zeros(len(s), classes, dtype=torch.float64, device=s.device)
        predictions.append(scores.scatter_add_(1, y, ((s - 1) / temperature).exp()).argmax(1))
    return torch.cat(predictions)
