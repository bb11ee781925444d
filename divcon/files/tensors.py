"""Tensors in safetensors files."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def write_tensors(path: Path, tensors: "Mapping[str, torch.Tensor]") -> None:
    """Write tensors by name to a safetensors file.

    The bytes are written as those of any other file, not by safetensors itself: so a full disk raises OSError, and the
    user's umask decides who may read the file.
    """
    from safetensors.torch import save

    path.write_bytes(save(_unshared({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})))


def _unshared(tensors: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """The tensors, each with memory of its own: safetensors refuses two names for one memory, as tied weights have."""
    addresses: set[int] = set()
    unshared = {}
    for name, tensor in tensors.items():
        address = tensor.untyped_storage().data_ptr()
        unshared[name] = tensor.clone() if address in addresses else tensor
        addresses.add(address)
    return unshared
