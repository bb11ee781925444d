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
    """divcon, and lightly's documented loop in float32 with torch's own TF32 setting, then by autocast to bfloat16."""
    ours = Training(place, machine_of(place), "simclr").timed(steps_of(place, 20))
    notes.put(divcon=ours)
    loop = Documented(place)
    for name, autocast, warmup, steps in (("lightly", False, loop.rounds, 24), ("lightly_bf16", True, 2, 16)):
        rate = loop.images_per_second(autocast, 1 if place.tiny else warmup, steps_of(place, steps))
        times = round(ours["images_per_second"] / rate, 2)
        notes.put(**{name: {"images_per_second": round(rate, 1)}, f"times_as_fast_as_{name}": times})


class Documented:
    """lightly's SimCLR: its transform, head, loss and SGD, with a worker for each core."""

    def __init__(self, place: Place):
        from .. import documented

        self.place, of = place, setting(place)
        case = Case(name="", method="simclr", encoder=of.encoder, size=of.size, picture=0, batch=of.batch)
        self.model, self.batch_size = documented.SimCLR(case).to(place.device).train(), of.batch
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.06)
        self.rounds = (
            1 if place.tiny else available_cores()
        )  # batches that come at once, because each worker makes whole batches
        loader: DataLoader[Any] = DataLoader(
            Files(photos(place), documented.transform(case)),
            batch_size=of.batch,
            shuffle=True,
            drop_last=True,
            num_workers=self.rounds,
            persistent_workers=True,
            multiprocessing_context="forkserver",
        )
        self.batches = endless(loader)

    def images_per_second(self, autocast: bool, warmup: int, steps: int) -> float:
        for _ in range(warmup):
            self.step(autocast)
        synchronize(self.place)
        begin = time.perf_counter()
        for _ in range(steps):
            self.step(autocast)
        synchronize(self.place)
        return steps * self.batch_size / (time.perf_counter() - begin)

    def step(self, autocast: bool) -> None:
        x0, x1 = (view.to(self.place.device) for view in next(self.batches))
        with torch.autocast(self.place.device.split(":")[0], torch.bfloat16, enabled=autocast):
            loss = self.model.loss(x0, x1)
        torch.autograd.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad()


def endless(loader: DataLoader[Any]) -> Any:
    while True:
        yield from loader


def synchronize(place: Place) -> None:
    if place.on_gpu:
        torch.cuda.synchronize()
