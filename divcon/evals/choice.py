"""The choice of a setting on held-out images."""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

Merit = tuple[float, float]  # of a setting on held-out images: the accuracy, and minus the cross-entropy
FAILED: Merit = (0.0, -float("inf"))


def merit(logits: Float[Tensor, "m classes"], labels: Int64[Tensor, " m"]) -> Merit:
    """Return the accuracy of the largest logit, and minus the cross-entropy: few images tell few settings apart by accuracy.

    Logits that are not all finite are FAILED.
    """
    if not bool(logits.isfinite().all()):
        return FAILED
    accuracy = float((logits.argmax(1) == labels).double().mean())
    return accuracy, -float(F.cross_entropy(logits.double(), labels))


def best(merits: Sequence[Merit]) -> int:
    """Return the place of the best setting; of equals, the first."""
    return max(range(len(merits)), key=merits.__getitem__)
