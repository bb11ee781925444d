"""Patches of images, for methods that learn from the positions of an image's parts."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

ROW = 3  # patches per row, and rows
PATCHES = ROW**2
MIN_STD = 0.05  # a smaller standard deviation is not raised to 1: a patch of nearly one color stays so


def corners(u: Float[Tensor, "b 9 2"], step: int, slack: int) -> Int64[Tensor, "b 9 2"]:
    """Return the top left corners (y, x) of the nine patches of each image, row by row.

    Neighboring patches are `step` pixels apart, and each is moved by up to `slack` pixels: u from [0, 1) decides how far.
    """
    patch = torch.arange(PATCHES, device=u.device)
    grid = torch.stack([patch // ROW, patch % ROW], 1)
    return step * grid + (u * (slack + 1)).long()


def cut(
    images: Float[Tensor, "b 3 s s"], corners: Int64[Tensor, "b n 2"], side: int
) -> Float[Tensor, "b n 3 side side"]:
    """Return the patches of `side` x `side` pixels at these top left corners (y, x), n per image."""
    offsets = torch.arange(side, device=images.device)
    rows, columns = corners[..., :1] + offsets, corners[..., 1:] + offsets
    image = torch.arange(len(images), device=images.device).view(-1, 1, 1, 1)
    return images[image, :, rows[..., None], columns[..., None, :]].permute(0, 1, 4, 2, 3)


def standardized(patches: Float[Tensor, "b n 3 side side"]) -> Float[Tensor, "b n 3 side side"]:
    """Return the patches with mean 0 and standard deviation 1 per channel, so that no patch shows its position by its tone."""
    std, mean = torch.std_mean(patches, (3, 4), keepdim=True, correction=0)
    return (patches - mean) / std.clamp(min=MIN_STD)
