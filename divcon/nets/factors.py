"""An encoder whose features are the code of a non-negative matrix factorization: amounts of non-negative components."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

EPSILON = torch.finfo(torch.float32).eps  # instead of 0 as a divisor, as in scikit-learn


class Factors(nn.Module):
    """Encodes images with pixels in 0..1 by the amount of each component. Gradients do not train the components.

    A fixed number of multiplicative updates for the squared error finds the amounts (Lee and Seung, "Algorithms for
    non-negative matrix factorization", 2001, equation 4).
    """

    components: Float[Tensor, "k pixels"]

    def __init__(self, size: int, *, components: int = 64, updates: int = 200):
        super().__init__()
        self.num_features, self.updates = components, updates
        self.register_buffer("components", torch.rand(components, 3 * size * size))

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k"]:
        with torch.autocast(images.device.type, enabled=False):
            return self.amounts(images.float().clamp(min=0).flatten(1))

    def amounts(self, x: Float[Tensor, "b pixels"]) -> Float[Tensor, "b k"]:
        """Return W >= 0 with W H near x, by the updates W <- W * (x H') / (W H H'), where H are the components.

        W begins with ones; the first update cancels their scale.
        """
        numerator, gram = x @ self.components.T, self.components @ self.components.T
        w = torch.ones_like(numerator)
        for _ in range(self.updates):
            denominator = w @ gram
            w = w * (numerator / torch.where(denominator == 0, EPSILON, denominator))
        return w

    def reconstruct(self, amounts: Float[Tensor, "b k"]) -> Float[Tensor, "b pixels"]:
        return amounts @ self.components
