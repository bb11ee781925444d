"""A ResNet-10 that two CPU cores can train: one basic block per stage (https://arxiv.org/abs/1512.03385)."""

import itertools

import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """A basic block: two 3x3 convolutions and a shortcut."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = (
            nn.Sequential(Shortcut(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
            if stride != 1 or channels_in != channels
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += self.downsample(x)  # in place, because batch norm needs no output for its gradient
        return F.relu(y, inplace=True)


class Shortcut(nn.Conv2d):
    """A 1x1 convolution with a stride. With few channels it takes the pixels first: for fewer than 16 of them, channels last, in
    float32, on several threads and with an odd batch, the gradient of oneDNN 3.12 writes past the end of its memory."""

    def forward(self, x: Tensor) -> Tensor:
        if self.in_channels >= 16:
            return super().forward(x)
        x = x[:, :, :: self.stride[0], :: self.stride[1]]
        return F.conv2d(x, self.weight, self.bias)


class SlimResNet(nn.Module):
    """Encodes images [B, channels, H, W] as features [B, 8 * width].

    A 3x3 stem comes before stages of 1, 2, 4 and 8 times `width` channels. The stem of large images also shrinks them
    to a quarter.
    """

    def __init__(self, width: int = 16, *, small_stem: bool = True, channels: int = 3):
        super().__init__()
        self.num_features = 8 * width
        self.conv1 = nn.Conv2d(channels, width, 3, 1 if small_stem else 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.pool = nn.Identity() if small_stem else nn.MaxPool2d(3, 2, 1)
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        self.stages = nn.Sequential(
            *(Block(a, b, 1 if i == 0 else 2) for i, (a, b) in enumerate(itertools.pairwise(widths)))
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_features(x).mean((2, 3))

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the map [B, 8 * width, h, w] whose mean the features are; timm's encoders have a method of this name."""
        maps: Tensor = self.stages(self.pool(F.relu(self.bn1(self.conv1(x)), inplace=True)))
        return maps
