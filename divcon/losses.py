"""Losses that more than one method uses: pure functions of tensors, in float32."""

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
    """The same with products in float32, where the loop would have them in bf16."""

    @functools.wraps(loss)
    def exact(z: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            return loss(z, *args, **kwargs)

    return exact


@in_float32
def info_nce(query: Float[Tensor, "b d"], key: Float[Tensor, "b d"], temperature: float) -> Float[Tensor, ""]:
    """Pick out each query's own key among the keys of all ranks, by cosine (DnC equation 1).

    No gradient reaches the keys: they are a momentum network's.
    """
    with torch.no_grad():
        keys = dist.all_gather(F.normalize(key.float(), dim=1))
    logits = F.normalize(query.float(), dim=1) @ keys.T / temperature
    own = torch.arange(len(query), device=query.device) + dist.rank() * len(query)
    return F.cross_entropy(logits, own)


@in_float32
def nt_xent(a: Float[Tensor, "b d"], b: Float[Tensor, "b d"], temperature: float) -> Float[Tensor, ""]:
    """Pick out the other view of each image among all other views, of both kinds and all ranks (SimCLR equation 1)."""
    a, b = F.normalize(a.float(), dim=1), F.normalize(b.float(), dim=1)
    others = torch.cat([dist.all_gather(a), dist.all_gather(b)])
    n, total = len(a), len(others) // 2
    own = torch.arange(n, device=a.device) + dist.rank() * n
    itself = torch.cat([own, own + total])
    partner = torch.cat([own + total, own])
    logits = torch.cat([a, b]) @ others.T / temperature
    logits = logits.scatter(1, itself[:, None], float("-inf"))
    return F.cross_entropy(logits, partner)


@in_float32
def info_nce_of_queue(
    query: Float[Tensor, "b d"], key: Float[Tensor, "b d"], queue: Float[Tensor, "n d"], temperature: float
) -> Float[Tensor, ""]:
    """Pick out each query's own key among the keys of a queue; keys and queue are of length one, and held still (MoCo
    equation 1)."""
    query = F.normalize(query.float(), dim=1)
    own = (query * key.float()).sum(1, keepdim=True)
    logits = torch.cat([own, query @ queue.T], 1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.int64, device=query.device))


@in_float32
def cosines(z: Float[Tensor, "b d"], directions: Float[Tensor, "k d"]) -> Float[Tensor, "b k"]:
    """Of rows with directions, both of length one."""
    return z @ directions.T


def alike(z: Float[Tensor, "b d"], bank: Float[Tensor, "n d"], temperature: float) -> Float[Tensor, "b n"]:
    """Cosines over temperature with all rows of a bank, which are of length one."""
    return cosines(F.normalize(z.float(), dim=1), bank) / temperature


def instance_softmax(
    z: Float[Tensor, "b d"], bank: Float[Tensor, "n d"], index: Int64[Tensor, "b"], temperature: float
) -> Float[Tensor, ""]:
    """Pick out each image's own row of a bank, among all of them; rows are held still (NPID equations 2 and 3)."""
    return F.cross_entropy(alike(z, bank, temperature), index)


@in_float32
def instance_nce(
    z: Float[Tensor, "b d"],
    bank: Float[Tensor, "n d"],
    index: Int64[Tensor, "b"],
    noise: Int64[Tensor, "b m"],
    temperature: float,
    normalizer: float,
) -> Float[Tensor, ""]:
    """Tell each image's own row of a bank from m rows at random (NPID equations 4 to 7); `normalizer` is Z / n.

    h = P / (P + m / n) with P = exp(s / t) / Z is the logistic function of s / t - log(m Z / n).
    """
    rows = bank[torch.cat([index[:, None], noise], 1)]
    scores = torch.einsum("bd,bmd->bm", F.normalize(z.float(), dim=1), rows) / temperature
    odds = scores - math.log(noise.shape[1] * normalizer)
    return (F.softplus(-odds[:, 0]) + F.softplus(odds[:, 1:]).sum(1)).mean()


def cosine_miss(guess: Float[Tensor, "b d"], truth: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """Squared distance of the two on the unit sphere, 2 - 2 cos, mean over the batch (BYOL equation 2)."""
    return squared_distance(F.normalize(guess.float(), dim=1), F.normalize(truth.float(), dim=1))


def squared_distance(guess: Float[Tensor, "b d"], truth: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """Summed over dimensions, mean over the batch."""
    return (guess.float() - truth.float()).square().sum(1).mean()


def regression(guess: Float[Tensor, "b d"], truth: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """Squared distance to the truth on the unit sphere (DnC equation 2).

    Only the truth is normalized; a guess has to find the length 1 itself.
    """
    return squared_distance(guess, F.normalize(truth.float(), dim=1))


@torch.no_grad()
def sinkhorn(scores: Float[Tensor, "b k"], epsilon: float, rounds: int) -> Float[Tensor, "b k"]:
    """Each row's share in each of k clusters that all ranks' rows fill alike (SwAV, equation 3): rows sum to 1, and the more
    rounds, the more alike the columns' sums. Small `epsilon` makes it a choice, large one a blur."""
    x = scores.float() / epsilon
    shares = (x - dist.all_max(x.max())).exp()
    least = torch.finfo(shares.dtype).tiny  # a cluster, or a row, that is out of all reach
    for _ in range(rounds):
        shares = shares / dist.all_sum(shares.sum(0)).clamp(min=least)
        shares = shares / shares.sum(1, keepdim=True).clamp(min=least)
    return shares


def swapped(
    scores: Sequence[Float[Tensor, "b k"]], codes: Sequence[Float[Tensor, "b k"]], temperature: float
) -> Float[Tensor, ""]:
    """Predict each view's code from the scores of all other views; codes are those of the first views (SwAV equation 2)."""
    guesses = [F.log_softmax(view.float() / temperature, dim=1) for view in scores]
    losses = [
        -(code * guess).sum(1).mean() for i, code in enumerate(codes) for j, guess in enumerate(guesses) if i != j
    ]
    return torch.stack(losses).mean()
