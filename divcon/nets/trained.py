"""A trained network on disk: encoder.safetensors with the weights, encoder.json with how to rebuild it around them."""

import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file

from ..artifacts import digest, read_json, sha256, show, whole, write_json, write_tensors
from ..config import check
from ..errors import DataError, InputError
from .encoder import EncoderSpec, build
from .net import Net


@dataclass(frozen=True)
class Sight:
    """How images must be shown to a network: the side of a view in pixels, and the colours' mean and spread."""

    size: int = 224
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


class Trained:
    """A net and how to rebuild it. Read from disk, its weights are loaded, and checked, when `net` is first asked for."""

    def __init__(self, spec: EncoderSpec, sight: Sight, net: Net | None = None, folder: Path | None = None):
        assert net is not None or folder is not None
        self.spec, self.sight, self.folder = spec, sight, folder
        if net is not None:
            self.net = net

    @cached_property
    def net(self) -> Net:
        assert self.folder is not None
        about = self._about(self.folder)
        file = self.folder / "encoder.safetensors"
        if not file.is_file() or sha256(file) != about["sha256"]:
            raise DataError(
                f"{show(file)} is damaged, or gone: its sha256 is not the one in encoder.json; divcon redo the stage it is of"
            )
        net = rebuilt(self.spec, self.sight, about["net"])
        net.load_state_dict(load_file(file))
        return net.eval()

    @property
    def fingerprint(self) -> str:
        """A digest of the weights' hash and of how the network is built and shown images."""
        assert self.folder is not None, "a network has a fingerprint once it is saved"
        return digest(json.dumps(self._about(self.folder), sort_keys=True))

    def save(self, folder: Path) -> None:
        file = folder / "encoder.safetensors"
        with whole(file) as part:
            write_tensors(part, self.net.state_dict())
        about = {"encoder": asdict(self.spec), "net": self.net.shape, **asdict(self.sight), "sha256": sha256(file)}
        write_json(folder / "encoder.json", about)

    @classmethod
    def load(cls, folder: Path) -> Self:
        about = cls._about(folder)
        sight = check(Sight, {key: about[key] for key in ("size", "mean", "std")})
        return cls(check(EncoderSpec, about["encoder"]), sight, folder=folder)

    @staticmethod
    def _about(folder: Path) -> dict[str, Any]:
        if not (folder / "encoder.json").is_file():
            raise InputError(f"{show(folder)} holds no encoder; name a finished run, or one of its stages (RUN/base)")
        about: dict[str, Any] = read_json(folder / "encoder.json")
        return about


def rebuilt(spec: EncoderSpec, sight: Sight, shape: dict[str, Any]) -> Net:
    """The network without its weights."""
    return Net(build(replace(spec, init="random"), sight.size), **shape)


def untrained(spec: EncoderSpec, sight: Sight, seed: int = 0) -> Trained:
    """The encoder alone, with the random weights of the seed."""
    torch.manual_seed(seed)
    return Trained(spec, sight, Net(build(spec, sight.size)))
