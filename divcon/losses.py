"""Losses of the methods: pure functions of tensors, in float32."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from . import dist

P = ParamSpec("P")


def in_float32(loss: Callable[Concatenate[Tensor, P], Tensor]) -> Callable[Concatenate[Tensor, P], Tensor]:
    """Return the loss with its matrix products in float32, also under autocast to bf16."""

    @functools.wraps(loss)
    def loss_in_float32(z: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            return loss(z, *args, **kwargs)

    return loss_in_float32


@in_float32
def info_nce(query: Float[Tensor, "b d"], key: Float[Tensor, "b d"], temperature: float) -> Float[Tensor, ""]:
    """InfoNCE over the global batch (DnC equation 1): cross-entropy of each query with its own key among the keys of all ranks.

    query, key: projections [B, D] of any length. Logits are cosines over the temperature. No gradient reaches the keys, which
    are a momentum network's.
    """
    with torch.no_grad():
        keys = dist.all_gather(F.normalize(key.float(), dim=1))
    logits = F.normalize(query.float(), dim=1) @ keys.T / temperature
    targets = torch.arange(len(query), device=query.device) + dist.rank() * len(query)
    return F.cross_entropy(logits, targets)


@in_float32
def nt_xent(a: Float[Tensor, "b d"], b: Float[Tensor, "b d"], temperature: float) -> Float[Tensor, ""]:
    """NT-Xent (SimCLR equation 1): cross-entropy of each view with the other view of its image, among all views of all ranks.

    a, b: projections [B, D] of the two views, of any length.
    """
    a, b = F.normalize(a.float(), dim=1), F.normalize(b.float(), dim=1)
    all_views = torch.cat([dist.all_gather(a), dist.all_gather(b)])
    n, total = len(a), len(all_views) // 2
    first = torch.arange(n, device=a.device) + dist.rank() * n
    itself = torch.cat([first, first + total])
    positives = torch.cat([first + total, first])
    logits = torch.cat([a, b]) @ all_views.T / temperature
    logits = logits.scatter(1, itself[:, None], float("-inf"))
    return F.cross_entropy(logits, positives)


@in_float32
def info_nce_of_queue(
    query: Float[Tensor, "b d"], key: Float[Tensor, "b d"], queue: Float[Tensor, "n d"], temperature: float
) -> Float[Tensor, ""]:
    """InfoNCE against a queue (MoCo equation 1): cross-entropy of each query [B, D] with its own key, among the keys of a queue.

    Keys [B, D] and queue [N, D] have length one and get no gradient.
    """
    query = F.normalize(query.float(), dim=1)
    positives = (query * key.float()).sum(1, keepdim=True)
    logits = torch.cat([positives, query @ queue.T], 1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.int64, device=query.device))


@in_float32
def cosines(z: Float[Tensor, "b d"], directions: Float[Tensor, "k d"]) -> Float[Tensor, "b k"]:
    """Cosines [B, K] of rows with directions, which all have length one."""
    return z @ directions.T


def similarities(z: Float[Tensor, "b d"], bank: Float[Tensor, "n d"], temperature: float) -> Float[Tensor, "b n"]:
    """Cosines [B, N] with all rows of a memory bank, which have length one, over the temperature."""
    return cosines(F.normalize(z.float(), dim=1), bank) / temperature


def instance_softmax(
    z: Float[Tensor, "b d"], bank: Float[Tensor, "n d"], index: Int64[Tensor, "b"], temperature: float
) -> Float[Tensor, ""]:
    """The softmax over all images (NPID equations 2 and 3): cross-entropy of each image with its own row of a memory bank.

    The rows have length one and get no gradient.
    """
    return F.cross_entropy(similarities(z, bank, temperature), index)


@in_float32
def instance_nce(
    z: Float[Tensor, "b d"],
    bank: Float[Tensor, "n d"],
    index: Int64[Tensor, "b"],
    noise: Int64[Tensor, "b m"],
    temperature: float,
    normalizer: float,
) -> Float[Tensor, ""]:
    """Noise-contrastive estimation (NPID equations 4 to 7): each image's own row of a memory bank against m random rows.

    `noise` has the positions [B, m] of the random rows; `normalizer` is Z / n.
    h = P / (P + m / n) with P = exp(s / t) / Z is the logistic function of s / t - log(m Z / n).
    """
    rows = bank[torch.cat([index[:, None], noise], 1)]
    scores = torch.einsum("bd,bmd->bm", F.normalize(z.float(), dim=1), rows) / temperature
    odds = scores - math.log(noise.shape[1] * normalizer)
    return (F.softplus(-odds[:, 0]) + F.softplus(odds[:, 1:]).sum(1)).mean()


def cosine_regression(prediction: Float[Tensor, "b d"], target: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """The squared distance of prediction and target, both normalized: 2 - 2 cos, mean over the batch (BYOL equation 2)."""
    return squared_distance(F.normalize(prediction.float(), dim=1), F.normalize(target.float(), dim=1))


def squared_distance(prediction: Float[Tensor, "b d"], target: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """The squared distance, summed over dimensions, mean over the batch."""
    return (prediction.float() - target.float()).square().sum(1).mean()


def regression(prediction: Float[Tensor, "b d"], target: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """The squared distance of the prediction and the normalized target (DnC equation 2).

    The prediction is not normalized: it has to learn the length 1.
    """
    return squared_distance(prediction, F.normalize(target.float(), dim=1))


@torch.no_grad()
def sinkhorn(scores: Float[Tensor, "b k"], epsilon: float, rounds: int) -> Float[Tensor, "b k"]:
    """Soft assignments [B, K] to k clusters by Sinkhorn-Knopp, over the rows of all ranks (SwAV equation 3).

    Rows sum to 1. Sums of columns become more equal with each round. A small `epsilon` gives assignments near 0 or 1.
    """
    logits = scores.float() / epsilon
    shares = (logits - dist.all_max(logits.max())).exp()
    least = torch.finfo(shares.dtype).tiny  # for a cluster, or a row, whose shares are all 0
    for _ in range(rounds):
        shares = shares / dist.all_sum(shares.sum(0)).clamp(min=least)
        shares = shares / shares.sum(1, keepdim=True).clamp(min=least)
    return shares


def swapped_prediction(
    scores: Sequence[Float[Tensor, "b k"]], codes: Sequence[Float[Tensor, "b k"]], temperature: float
) -> Float[Tensor, ""]:
    """Cross-entropy of each view's code with the scores of every other view, mean over the pairs (SwAV equation 2).

    scores: [B, K] for each view; codes: [B, K] for each of the first views.
    """
    log_shares = [F.log_softmax(view.float() / temperature, dim=1) for view in scores]
    losses = [
        -(code * predicted).sum(1).mean()
        for i, code in enumerate(codes)
        for j, predicted in enumerate(log_shares)
        if i != j
    ]
    return torch.stack(losses).mean()
