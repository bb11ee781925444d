"""An image as amounts of non-negative parts: the code of non-negative matrix factorization, as an encoder."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

TINY = torch.finfo(torch.float32).eps


class Factors(nn.Module):
    """Images of pixels in 0..1 -> how much of each component they hold; the components are not trained by gradients.

    The amounts come from a fixed number of multiplicative updates for the squared error (Lee and Seung, "Algorithms for
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
        """W >= 0 with W H near x, by W <- W * (x H') / (W H H'). The first update forgets where it began."""
        wanted, shared = x @ self.components.T, self.components @ self.components.T
        w = torch.ones_like(wanted)
        for _ in range(self.updates):
            had = w @ shared
            w = w * (wanted / torch.where(had == 0, TINY, had))
        return w

    def put_together(self, amounts: Float[Tensor, "b k"]) -> Float[Tensor, "b pixels"]:
        return amounts @ self.components
