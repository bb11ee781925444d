"""Time a training step as one of several ranks: `python -m divcon.api.rank_speed PARENT FOLDER RANKS PRECISION RANK`."""

import sys
import time
from pathlib import Path

import torch
from torch._C._distributed_c10d import FileStore

from .. import dist
from ..config import validate_fields
from ..machine import Machine, available_cores
from ..methods.moclr import MoCLR
from ..nets.encoder import EncoderSpec
from ..nets.trained import InputSpec
from ..ranks import Place, end_with_parent
from ..stages.learning import new_encoder
from ..stages.pretrain import Pretrain
from ..train.optimizers import make_optimizer
from .trial_step import noise_batch, step_on

BATCH, WARM_UP, STEPS = 64, 3, 12  # images of all ranks, and steps


def speed(machine: Machine) -> float:
    """The images per second of all ranks together, by steps of MoCLR with a slim encoder on noise."""
    share = BATCH // dist.world_size()
    recipe = Pretrain(
        samples_seen=BATCH, batch_size=share, encoder=EncoderSpec("slim10"), input_spec=InputSpec(32), views="mild"
    )
    with machine.use():
        torch.manual_seed(0)
        method = MoCLR(new_encoder(recipe, machine), BATCH, hidden=512, dim=128)
        machine.to_device(method).train()
        batch, optimizer = noise_batch(recipe, method, machine), make_optimizer("adamw", method, 0.0)
        for step in range(WARM_UP + STEPS):
            if step == WARM_UP:
                begin = time.perf_counter()
            step_on(method, optimizer, batch, machine)
        return STEPS * share * dist.world_size() / (time.perf_counter() - begin)


if __name__ == "__main__":
    parent, folder, ranks, precision, rank = sys.argv[1:]
    end_with_parent(int(parent))
    machine = validate_fields(Machine, {"precision": precision, "compute_threads": available_cores()})
    place = Place(int(rank), int(ranks), int(rank), "", 0)
    with dist.joined(FileStore(str(Path(folder) / "store"), place.world), place):
        found = speed(machine)
    if place.rank == 0:
        sys.stdout.write(f"{found}\n")
