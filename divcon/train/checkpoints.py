"""Checkpoints of a training: folders of safetensors and a manifest with their hashes, each committed by one rename.

    checkpoints/step-00001200/   model.safetensors, optimizer.safetensors, MANIFEST.json (written last)

There is no pickle and no random state: the order of images and their views are functions of the step. A training
resumes from the newest intact checkpoint.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .. import dist, failpoints
from ..files.atomic import fsync, make_folder, part_path, remove_path
from ..files.disk_errors import disk_errors
from ..files.integrity import mismatches, sha256, write_json
from ..files.tensors import write_tensors
from ..files.text import printable
from ..log import warning
from ..runs.folder import MANIFEST, MODEL, OPTIMIZER
from ..runs.verify import misplaced

KEPT = 2  # checkpoints: if the newest one is damaged, the training resumes from the one before


def save(
    folder: Path,
    step: int,
    method: nn.Module,
    optimizer: torch.optim.Optimizer,
    of: str = "",
    mine: Callable[[], None] = lambda: None,
) -> None:
    """Commit the checkpoint of a step, then remove all checkpoints but the newest two intact ones.

    `of` is a digest of the options of the stage. `mine` is called before the commit and raises OwnedError if another
    process has taken the folder over.
    """
    final = _of_step(folder, step)
    part = part_path(final)
    with disk_errors(final):
        clear(folder)
        make_folder(part)
        try:
            _write(part, step, method, optimizer, of)
        except OSError:  # on a full disk, its space is needed more than half a checkpoint
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
    """Write the files, and last the manifest: a folder without it is no checkpoint."""
    failpoints.at("checkpoint.begun")
    write_tensors(part / MODEL, method.state_dict())
    failpoints.at("checkpoint.half")
    write_tensors(part / OPTIMIZER, _flat_state(optimizer))
    write_json(part / MANIFEST, {"step": step, "of": of, "sha256": _fsync_and_hash(part)})
    failpoints.at("checkpoint.sealed")


def _prune(folder: Path) -> None:
    """Remove the checkpoints that are older than the newest two intact ones. The intact ones are read back first."""
    intact = 0
    for checkpoint in _newest_first(folder):
        if intact == KEPT:
            remove_path(checkpoint)
        else:
            intact += not damaged(checkpoint)


def load(folder: Path, method: nn.Module, optimizer: torch.optim.Optimizer, of: str | None = None) -> int:
    """Load the newest intact checkpoint and return its step, or return 0 if there is none. All ranks load the same one.

    If `of` is given, a checkpoint of a stage with other options counts as damaged. Each damaged one gives a warning.
    """
    step = dist.on_leader(lambda: _newest_intact(folder, of))
    if step:
        checkpoint = _of_step(folder, step)
        method.load_state_dict(load_file(checkpoint / MODEL))
        _load_flat_state(optimizer, load_file(checkpoint / OPTIMIZER))
    return step


def _newest_intact(folder: Path, of: str | None) -> int:
    for checkpoint in _newest_first(folder):
        damage = damaged(checkpoint, of)
        if not damage:
            return int(checkpoint.name.removeprefix("step-"))
        warning(f"checkpoint {printable(checkpoint)} is damaged ({damage}); trying the one before")
    return 0


def damaged(checkpoint: Path, of: str | None = None) -> str:
    """Return a description of the damage to a checkpoint, or "" if it is intact and (if `of` is given) of this stage."""
    manifest = checkpoint / MANIFEST
    return "; ".join(mismatches(manifest) or misplaced(manifest, of))


def clear(folder: Path) -> None:
    """Remove the half-written checkpoints of a killed process. Only the owner of the stage may call this."""
    for part in folder.glob("*.part"):
        remove_path(part)


def _of_step(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}"


def _newest_first(folder: Path) -> list[Path]:
    """Return the committed checkpoints."""
    return sorted((path for path in folder.glob("step-*") if not path.suffix), reverse=True)


def _fsync_and_hash(part: Path) -> dict[str, str]:
    for file in part.iterdir():
        fsync(file)
    return {file.name: sha256(file) for file in sorted(part.iterdir())}


def _flat_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state tensors of an optimizer, named PARAMETER_NUMBER/STATE_NAME."""
    state: dict[int, dict[str, Tensor]] = optimizer.state_dict()["state"]
    return {f"{i}/{name}": tensor for i, tensors in state.items() for name, tensor in tensors.items()}


def _load_flat_state(optimizer: torch.optim.Optimizer, flat: dict[str, Tensor]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in flat.items():
        i, name = key.split("/")
        state.setdefault(int(i), {})[name] = _in_layout_of(parameters[int(i)], tensor)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _in_layout_of(parameter: Tensor, tensor: Tensor) -> Tensor:
    """Return the tensor in the memory layout of the parameter. A fused optimizer assumes that both have the same one."""
    return torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor
