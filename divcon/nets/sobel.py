"""A network that sees edges and not colors, as DeepCluster's do (https://arxiv.org/abs/1807.05520, section 4)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

ACROSS = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])  # Sobel's


class SobelFilter(nn.Module):
    """An encoder of two channels behind a fixed one: how gray changes from left to right, and from top to bottom."""

    kernels: Tensor

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.num_features = encoder.num_features
        self.register_buffer("kernels", torch.stack([ACROSS, ACROSS.T])[:, None], persistent=False)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        gray = images.mean(1, keepdim=True)
        seen: Tensor = self.encoder(F.conv2d(gray, self.kernels.to(gray.dtype), padding=1))
        return seen
