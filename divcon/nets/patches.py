"""Patches cut from images, for methods that learn from where parts of a picture lie."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

ROW = 3  # patches in a row, and rows
PATCHES = ROW**2
FLAT = 0.05  # the least spread that is brought to 1: what is nearly of one color stays so


def corners(u: Float[Tensor, "b 9 2"], step: int, slack: int) -> Int64[Tensor, "b 9 2"]:
    """Top and left of the nine patches of each image, row by row: `step` pixels from one to the next, each moved by up to
    `slack` pixels, as `u` from [0, 1) says."""
    place = torch.arange(PATCHES, device=u.device)
    grid = torch.stack([place // ROW, place % ROW], 1)
    return step * grid + (u * (slack + 1)).long()


def cut(images: Float[Tensor, "b 3 s s"], at: Int64[Tensor, "b n 2"], side: int) -> Float[Tensor, "b n 3 side side"]:
    """The patches of `side` pixels whose top left corners are given, n of each image."""
    reach = torch.arange(side, device=images.device)
    rows, columns = at[..., :1] + reach, at[..., 1:] + reach
    image = torch.arange(len(images), device=images.device).view(-1, 1, 1, 1)
    return images[image, :, rows[..., None], columns[..., None, :]].permute(0, 1, 4, 2, 3)


def standardized(patches: Float[Tensor, "b n 3 side side"]) -> Float[Tensor, "b n 3 side side"]:
    """Each patch with mean 0 and spread 1 in each channel, so that its tone does not tell where it lay."""
    spread, mean = torch.std_mean(patches, (3, 4), keepdim=True, correction=0)
    return (patches - mean) / spread.clamp(min=FLAT)
