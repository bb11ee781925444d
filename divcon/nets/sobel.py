"""A Sobel filter before an encoder, as in DeepCluster (https://arxiv.org/abs/1807.05520, section 4)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

HORIZONTAL = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])


class SobelFilter(nn.Module):
    """Gives an encoder of two channels the horizontal and vertical gradients of the gray image, and no colors."""

    kernels: Tensor

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.num_features = encoder.num_features
        self.register_buffer("kernels", torch.stack([HORIZONTAL, HORIZONTAL.T])[:, None], persistent=False)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        gray = images.mean(1, keepdim=True)
        features: Tensor = self.encoder(F.conv2d(gray, self.kernels.to(gray.dtype), padding=1))
        return features
