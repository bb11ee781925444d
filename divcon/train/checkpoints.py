"""A training's state on disk: folders of safetensors with a manifest of hashes, each committed by one rename.

    checkpoints/step-00001200/   model.safetensors, optimizer.safetensors, MANIFEST.json (written last)

No pickle, no random state: order and views are functions of the step. The newest whole one is resumed from.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .. import failpoints
from ..files.atomic import fsync, make_folder, part_path, remove_path
from ..files.disk_errors import disk_errors
from ..files.integrity import mismatches, sha256, write_json
from ..files.tensors import write_tensors
from ..files.text import printable
from ..log import warning
from ..runs.folder import MANIFEST, MODEL, OPTIMIZER
from ..runs.verify import misplaced

KEPT = 2


def save(
    folder: Path,
    step: int,
    method: nn.Module,
    optimizer: torch.optim.Optimizer,
    of: str = "",
    mine: Callable[[], None] = lambda: None,
) -> None:
    """Commit a checkpoint `of` a stage, if its folder is still `mine`; then remove all but the newest two that are whole."""
    final = folder / f"step-{step:08d}"
    part = part_path(final)
    with disk_errors(final):
        clear(folder)
        make_folder(part)
        try:
            _write(part, step, method, optimizer, of)
        except OSError:  # the room is worth more than half a checkpoint
            shutil.rmtree(part, ignore_errors=True)
            raise
        mine()
        remove_path(final)
        failpoints.at("checkpoint.replacing")
        part.rename(final)
        fsync(folder)
        failpoints.at("checkpoint.committed")
    _prune(folder)
    failpoints.at("checkpoint.pruned")


def _write(part: Path, step: int, method: nn.Module, optimizer: torch.optim.Optimizer, of: str) -> None:
    """The files, and last the manifest, which makes them a checkpoint."""
    failpoints.at("checkpoint.begun")
    write_tensors(part / MODEL, method.state_dict())
    failpoints.at("checkpoint.half")
    write_tensors(part / OPTIMIZER, _flat(optimizer))
    write_json(part / MANIFEST, {"step": step, "of": of, "sha256": _seal(part)})
    failpoints.at("checkpoint.sealed")


def _prune(folder: Path) -> None:
    """Read the newest two back, older ones in the place of damaged ones; only then remove what is older."""
    whole = 0
    for checkpoint in _found(folder):
        if whole == KEPT:
            remove_path(checkpoint)
        else:
            whole += not damaged(checkpoint)


def load(folder: Path, method: nn.Module, optimizer: torch.optim.Optimizer, of: str | None = None) -> int:
    """Take up the newest whole checkpoint (of this stage) and return its step; 0 where there is none."""
    for checkpoint in _found(folder):
        damage = damaged(checkpoint, of)
        if damage:
            warning(f"checkpoint {printable(checkpoint)} is damaged ({damage}); trying the one before")
            continue
        method.load_state_dict(load_file(checkpoint / MODEL))
        _put_back(optimizer, load_file(checkpoint / OPTIMIZER))
        return int(checkpoint.name.removeprefix("step-"))
    return 0


def damaged(checkpoint: Path, of: str | None = None) -> str:
    """What is wrong with a checkpoint's files, in words, or that it is another's; empty when nothing is."""
    manifest = checkpoint / MANIFEST
    return "; ".join(mismatches(manifest) or misplaced(manifest, of))


def clear(folder: Path) -> None:
    """Remove what a killed process left half-written. Only the stage's owner may call it."""
    for part in folder.glob("*.part"):
        remove_path(part)


def _found(folder: Path) -> list[Path]:
    """Committed checkpoints, newest first."""
    return sorted((path for path in folder.glob("step-*") if not path.suffix), reverse=True)


def _seal(part: Path) -> dict[str, str]:
    """Make the files durable; their hashes."""
    for file in part.iterdir():
        fsync(file)
    return {file.name: sha256(file) for file in sorted(part.iterdir())}


def _flat(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's tensors, named "parameter number/what"."""
    state: dict[int, dict[str, Tensor]] = optimizer.state_dict()["state"]
    return {f"{i}/{what}": tensor for i, parts in state.items() for what, tensor in parts.items()}


def _put_back(optimizer: torch.optim.Optimizer, flat: dict[str, Tensor]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in flat.items():
        i, what = name.split("/")
        state.setdefault(int(i), {})[what] = _laid_out_like(parameters[int(i)], tensor)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _laid_out_like(parameter: Tensor, tensor: Tensor) -> Tensor:
    """The tensor in the parameter's layout: a fused optimizer walks the memory of both side by side, unasked."""
    return torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor
