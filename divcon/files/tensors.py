"""Tensors in safetensors files."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def write_tensors(path: Path, tensors: "Mapping[str, torch.Tensor]") -> None:
    """A safetensors file, written like any other: a full disk is an OSError, and who may read it is the user's choice."""
    from safetensors.torch import save

    path.write_bytes(save(_unshared({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})))


def _unshared(tensors: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """Each in memory of its own: modules that a network has in two places share theirs, which safetensors refuses."""
    taken: set[int] = set()
    parts = {}
    for name, tensor in tensors.items():
        at = tensor.untyped_storage().data_ptr()
        parts[name] = tensor.clone() if at in taken else tensor
        taken.add(at)
    return parts
