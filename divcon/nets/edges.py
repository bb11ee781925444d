"""A network that sees edges and not colours, as DeepCluster's do (https://arxiv.org/abs/1807.05520, section 4)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

ACROSS = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])  # Sobel's


class SeesEdges(nn.Module):
    """An encoder of two channels behind a fixed one: how grey changes from left to right, and from top to bottom."""

    kernels: Tensor

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.num_features = encoder.num_features
        self.register_buffer("kernels", torch.stack([ACROSS, ACROSS.T])[:, None], persistent=False)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        grey = images.mean(1, keepdim=True)
        seen: Tensor = self.encoder(F.conv2d(grey, self.kernels.to(grey.dtype), padding=1))
        return seen
