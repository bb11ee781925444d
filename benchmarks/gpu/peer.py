"""lightly as its documentation shows it, and divcon, by SimCLR with ResNet-50 at 224 pixels from the same JPEG files."""

import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from divcon.machine import available_cores

from ..steps import Case
from .checks import Notes, Place
from .photos import photos
from .training import Training, machine_of, setting, steps_of


class Files(Dataset[Any]):
    """Photos in a folder, as lightly's dataset opens them."""

    def __init__(self, folder: Path, transform: Any):
        self.files, self.transform = sorted(folder.glob("*.jpg")), transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Any:
        with self.files[i].open("rb") as file:
            return self.transform(Image.open(file).convert("RGB"))


def lightly(place: Place, notes: Notes) -> None:
    """lightly's documented loop in float32, with torch's own TF32 setting, and by autocast; divcon's; all by SimCLR."""
    ours = Training(place, machine_of(place), "simclr").timed(steps_of(place, 20))
    notes.put(divcon=ours)
    theirs = documented(place, autocast=False)
    notes.put(lightly=theirs, times_as_fast=round(ours["images_per_second"] / theirs["images_per_second"], 2))
    by_autocast = documented(place, autocast=True)
    notes.put(lightly_bf16=by_autocast)
    notes.put(times_as_fast_bf16=round(ours["images_per_second"] / by_autocast["images_per_second"], 2))


def documented(place: Place, *, autocast: bool) -> dict[str, float]:
    """Images a second of lightly's SimCLR: its transform, head, loss and SGD, with a worker for each core."""
    from .. import documented as theirs

    of = setting(place)
    case = Case(name="", method="simclr", encoder=of.encoder, size=of.size, picture=0, batch=of.batch)
    model = theirs.SimCLR(case).to(place.device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.06)
    loader: DataLoader[Any] = DataLoader(
        Files(photos(place), theirs.transform(case)), batch_size=of.batch, shuffle=True, drop_last=True,
        num_workers=0 if place.tiny else available_cores(), persistent_workers=not place.tiny,
        multiprocessing_context=None if place.tiny else "forkserver",
    )  # fmt: skip
    batches, warmup, steps = endless(loader), 2, steps_of(place, 10)
    for number in range(warmup + steps):
        if number == warmup:
            synchronize(place)
            begin = time.perf_counter()
        x0, x1 = (view.to(place.device) for view in next(batches))
        with torch.autocast(place.device.split(":")[0], torch.bfloat16, enabled=autocast):
            loss = model.loss(x0, x1)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    synchronize(place)
    return {"images_per_second": round(steps * of.batch / (time.perf_counter() - begin), 1)}


def endless(loader: DataLoader[Any]) -> Any:
    while True:
        yield from loader


def synchronize(place: Place) -> None:
    if place.on_gpu:
        torch.cuda.synchronize()
