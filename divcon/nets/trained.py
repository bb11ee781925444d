"""A trained network on disk: encoder.safetensors with the weights, encoder.json with how to rebuild it around them."""

import contextlib
import json
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, NoReturn, Self

import torch
from pydantic import Field, PositiveFloat
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from .. import host_settings
from ..config import validate_fields
from ..errors import DamagedError, InputError, UsageError
from ..files.atomic import atomic_write
from ..files.integrity import digest, hash_difference, sha256, write_json
from ..files.tensors import write_tensors
from ..files.text import printable
from ..runs import json_files
from ..runs.folder import ENCODER, ENCODER_SETTINGS
from .encoder import SLIM, EncoderSpec, build
from .net import Net
from .preprocessing import PREPROCESSING, SHORT_SIDE, check_preprocessing

Shapes = dict[str, list[int]]
MOST = 65_536  # pixels a side, or features: what an encoder.json asks for may be anything


@dataclass(frozen=True)
class InputSpec:
    """How images must be shown to a network: the side of a view in pixels, and the colors' mean and spread."""

    size: int = 224
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    @property
    def short_side(self) -> int:
        """How large pictures are kept: about so many pixels on the short side."""
        return SHORT_SIDE * self.size


@dataclass(frozen=True)
class Shape:
    """A projector (heads.py)."""

    hidden: Annotated[int, Field(ge=0, le=MOST)] = 0
    dim: Annotated[int, Field(ge=0, le=MOST)] = 0
    layers: Annotated[int, Field(ge=2, le=16)] = 2
    norm_hidden: bool = True
    norm_output: bool = True


@dataclass(frozen=True)
class About:
    """encoder.json"""

    encoder: EncoderSpec
    net: Shape
    size: Annotated[int, Field(ge=8, le=MOST)]
    mean: tuple[float, float, float]
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    sha256: str
    preprocess: dict[str, Any] = field(default_factory=lambda: PREPROCESSING)  # runs of old do not say it


class Trained:
    """A net and how to rebuild it. Read from disk, its weights are loaded, and checked, when `net` is first asked for."""

    def __init__(self, spec: EncoderSpec, input_spec: InputSpec, net: Net | None = None, folder: Path | None = None):
        assert net is not None or folder is not None
        self.spec, self.input_spec, self.folder = spec, input_spec, folder
        if net is not None:
            self.net = net

    @cached_property
    def net(self) -> Net:
        assert self.folder is not None
        about = self._about(self.folder)
        file = self.folder / ENCODER
        read = sha256(file) if file.is_file() else "no file"
        if read != about["sha256"]:
            raise DamagedError(
                f"{printable(file)} is damaged ({hash_difference(str(about['sha256']), read)}); put back a copy, or divcon redo the stage it is of"
            )
        found = _shapes(file)
        _check_projector(self.folder, found, about["net"])
        if self.spec.options or self.spec.name not in SLIM:  # those are small, and "meta" takes 2 s at first
            self._check_without_room(found, about["net"])
        net = rebuilt(self.spec, self.input_spec, about["net"])
        _check_shapes(self.folder, found, net)
        net.load_state_dict(load_file(file))
        return net.eval()

    def _check_without_room(self, found: Shapes, shape: dict[str, Any]) -> None:
        """A stranger's word may ask for a network of any size. Not all of timm's can be built so."""
        with contextlib.nullcontext() if self.spec.options else contextlib.suppress(UsageError):
            _check_shapes(self.folder or Path(), found, rebuilt(self.spec, self.input_spec, shape, "meta"))

    @property
    def fingerprint(self) -> str:
        """A digest of the weights' hash and of how the network is built and shown images."""
        assert self.folder is not None, "a network has a fingerprint once it is saved"
        return digest(json.dumps(self._about(self.folder), sort_keys=True))

    def save(self, folder: Path) -> None:
        file = folder / ENCODER
        with atomic_write(file) as part:
            write_tensors(part, self.net.state_dict())
        about = {"encoder": asdict(self.spec), "net": self.net.shape, **asdict(self.input_spec)}
        write_json(folder / ENCODER_SETTINGS, {**about, "preprocess": PREPROCESSING, "sha256": sha256(file)})

    @classmethod
    def load(cls, folder: Path) -> Self:
        about = cls._about(folder)
        input_spec = validate_fields(InputSpec, {key: about[key] for key in ("size", "mean", "std")})
        return cls(validate_fields(EncoderSpec, about["encoder"]), input_spec, folder=folder)

    @staticmethod
    def _about(folder: Path) -> dict[str, Any]:
        """DamagedError, if encoder.json is not one of ours: it may come from a stranger."""
        if not (folder / ENCODER_SETTINGS).is_file():
            raise InputError(
                f"{printable(folder)} holds no encoder; name a finished run, or one of its stages (RUN/base)"
            )
        about = json_files.read_record(About, folder / ENCODER_SETTINGS)
        check_preprocessing(about.get("preprocess", PREPROCESSING), folder / ENCODER_SETTINGS)
        return about


def rebuilt(spec: EncoderSpec, input_spec: InputSpec, shape: dict[str, Any], device: str = "cpu") -> Net:
    """The network without its weights; on the device "meta" without room for them either."""
    with host_settings.set_aside(), torch.device(device):
        return Net(build(replace(spec, init="random"), input_spec.size), **shape)


def _shapes(file: Path) -> Shapes:
    """Of each tensor in a file, by its name: read from its header."""
    try:
        with safe_open(file, framework="pt") as opened:
            return {name: opened.get_slice(name).get_shape() for name in opened.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise DamagedError(f"{printable(file)} can't be read ({printable(str(error))}); get a copy of it") from error


def _check_projector(folder: Path, found: Shapes, shape: dict[str, Any]) -> None:
    """DamagedError, if encoder.json tells of a projector with a side that none of its weights has."""
    sides = {0, *(side for name, its in found.items() if name.startswith("projector.") for side in its)}
    for part in ("hidden", "dim"):
        if shape.get(part, 0) not in sides:
            _refuse(folder, f"projector ({part})", sorted(sides), [shape[part]])


def _check_shapes(folder: Path, found: Shapes, net: Net) -> None:
    """DamagedError, unless there are just the tensors of the net."""
    expected = {name: list(tensor.shape) for name, tensor in net.state_dict().items()}
    for name in sorted({*expected, *found}):
        if expected.get(name) != found.get(name):
            _refuse(folder, name, found.get(name), expected.get(name))


def _refuse(folder: Path, name: str, found: list[int] | None, expected: list[int] | None) -> NoReturn:
    raise DamagedError(
        f"{printable(folder)}/encoder.safetensors is not of the network in encoder.json: the shape of {printable(name)} is {found}, "
        f"not {expected}; get a copy of both"
    )


def untrained(spec: EncoderSpec, input_spec: InputSpec, seed: int = 0) -> Trained:
    """The encoder alone, with the random weights of the seed."""
    with host_settings.set_aside():
        torch.manual_seed(seed)
        return Trained(spec, input_spec, Net(build(spec, input_spec.size)))
