"""Losses that more than one method uses: pure functions of tensors, in float32."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from . import dist


def info_nce(
    query: Float[Tensor, "b d"], key: Float[Tensor, "b d"], temperature: float
) -> Float[Tensor, ""]:  # fmt: skip
    """Pick out each query's own key among the keys of all ranks, by cosine (DnC equation 1).

    No gradient reaches the keys: they are a momentum network's.
    """
    with torch.no_grad():
        keys = dist.gathered(F.normalize(key.float(), dim=1))
    logits = F.normalize(query.float(), dim=1) @ keys.T / temperature
    own = torch.arange(len(query), device=query.device) + dist.rank() * len(query)
    return F.cross_entropy(logits, own)


def nt_xent(a: Float[Tensor, "b d"], b: Float[Tensor, "b d"], temperature: float) -> Float[Tensor, ""]:
    """Pick out the other view of each image among all other views, of both kinds and all ranks (SimCLR equation 1)."""
    a, b = F.normalize(a.float(), dim=1), F.normalize(b.float(), dim=1)
    others = torch.cat([dist.gathered(a), dist.gathered(b)])
    n, total = len(a), len(others) // 2
    own = torch.arange(n, device=a.device) + dist.rank() * n
    itself = torch.cat([own, own + total])
    partner = torch.cat([own + total, own])
    logits = torch.cat([a, b]) @ others.T / temperature
    logits = logits.scatter(1, itself[:, None], float("-inf"))
    return F.cross_entropy(logits, partner)


def info_nce_of_queue(
    query: Float[Tensor, "b d"], key: Float[Tensor, "b d"], queue: Float[Tensor, "n d"], temperature: float
) -> Float[Tensor, ""]:
    """Pick out each query's own key among the keys of a queue; keys and queue are of length one, and held still (MoCo
    equation 1)."""
    query = F.normalize(query.float(), dim=1)
    own = (query * key.float()).sum(1, keepdim=True)
    logits = torch.cat([own, query @ queue.T], 1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.int64, device=query.device))


def cosine_miss(guess: Float[Tensor, "b d"], truth: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """Squared distance of the two on the unit sphere, 2 - 2 cos, mean over the batch (BYOL equation 2)."""
    return squared_distance(F.normalize(guess.float(), dim=1), F.normalize(truth.float(), dim=1))


def squared_distance(guess: Float[Tensor, "b d"], truth: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """Summed over dimensions, mean over the batch."""
    return (guess.float() - truth.float()).square().sum(1).mean()


def regression(guess: Float[Tensor, "b d"], truth: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """Squared distance to the truth on the unit sphere (DnC equation 2).

    Only the truth is normalised; a guess has to find the length 1 itself.
    """
    return squared_distance(guess, F.normalize(truth.float(), dim=1))
