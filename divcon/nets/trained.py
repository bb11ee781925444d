"""A trained network on disk: its weights in encoder.safetensors, the whitening of its features in whitening.safetensors, and
the options to rebuild it in encoder.json."""

import contextlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, NoReturn, Self

import torch
from pydantic import Field, PositiveFloat
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from .. import host_settings
from ..errors import DamagedError, InputError, UsageError
from ..files.atomic import atomic_write
from ..files.integrity import digest, hash_difference, sha256, write_json
from ..files.tensors import write_tensors
from ..files.text import printable
from ..runs.folder import ENCODER, ENCODER_SETTINGS, WHITENING
from ..runs.json_files import load_record
from .encoder import SLIM, EncoderSpec, build
from .heads import ProjectorSpec
from .net import Net
from .preprocessing import PREPROCESSING, SHORT_SIDE, check_preprocessing
from .whitening import Whitening

Shapes = dict[str, list[int]]  # of tensors, by name
OTHER_FORMATS = "model.onnx", "model.safetensors"  # files of exports that are not loaded
MAX_SIZE = 65_536  # pixels of a side: an encoder.json from a stranger may ask for any number


@dataclass(frozen=True)
class InputSpec:
    """The input of a network: the side of a view in pixels, and the mean and standard deviation of the colors (0..1)."""

    size: Annotated[int, Field(ge=8, le=MAX_SIZE)] = 224
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.229, 0.224, 0.225)

    @property
    def short_side(self) -> int:
        """The short side in pixels that larger images are shrunk to before they are cropped."""
        return SHORT_SIDE * self.size


@dataclass(frozen=True)
class EncoderRecord:
    """The contents of encoder.json. `sha256` is the hash of encoder.safetensors, `whitening` that of whitening.safetensors; the
    latter is left out for an encoder that has none."""

    encoder: EncoderSpec
    projector: ProjectorSpec
    input_spec: InputSpec
    preprocess: dict[str, object]
    sha256: str
    whitening: str | None = None

    def as_json(self) -> dict[str, object]:
        """The content of encoder.json; for an encoder without a whitening that of older versions."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class Trained:
    """A network with the options to rebuild it, and the whitening of its pooled features.

    Files on disk are read and checked when `net` or `whitening` is used for the first time.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        input_spec: InputSpec,
        net: Net | None = None,
        folder: Path | None = None,
        whitening: Whitening | None = None,
    ):
        assert net is not None or folder is not None
        self.spec, self.input_spec, self.folder = spec, input_spec, folder
        if net is not None:
            self.net, self.whitening = net, whitening

    @cached_property
    def net(self) -> Net:
        """The network in eval mode. Raises DamagedError if its files are damaged or do not fit each other."""
        assert self.folder is not None
        record = _read_record(self.folder)
        file = self.folder / ENCODER
        _check_hash(file, record.sha256)
        shapes = _read_shapes(file)
        _check_projector(self.folder, shapes, record.projector)
        if (
            self.spec.options or self.spec.name not in SLIM
        ):  # slim ones are small, and the device "meta" takes 2 s to start
            self._check_before_allocating(shapes, record.projector)
        net = rebuild(self.spec, self.input_spec, record.projector)
        _check_shapes(self.folder, shapes, net)
        net.load_state_dict(load_file(file))
        return net.eval()

    @cached_property
    def whitening(self) -> Whitening | None:
        """The whitening of the pooled features; None for an encoder of an older run, and for random weights. Raises
        DamagedError for a file that is damaged or another's."""
        assert self.folder is not None
        expected = _read_record(self.folder).whitening
        if expected is None:
            return None
        _check_hash(self.folder / WHITENING, expected)
        return Whitening.load(self.folder / WHITENING)

    def raw(self) -> "Trained":
        """Return the same network without its whitening."""
        return Trained(self.spec, self.input_spec, self.net, self.folder)

    def _check_before_allocating(self, shapes: Shapes, projector: ProjectorSpec) -> None:
        """Compare the shapes without allocating memory: a file from a stranger may ask for a network of any size.

        Some models of timm can't be built in this way; they are checked later.
        """
        with contextlib.nullcontext() if self.spec.options else contextlib.suppress(UsageError):
            _check_shapes(self.folder or Path(), shapes, rebuild(self.spec, self.input_spec, projector, "meta"))

    @property
    def fingerprint(self) -> str:
        """A digest of the hashes of weights and whitening, the network's options and its input."""
        assert self.folder is not None, "a network has a fingerprint once it is saved"
        return digest(json.dumps(_read_record(self.folder).as_json(), sort_keys=True))

    def save(self, folder: Path) -> None:
        """Write encoder.safetensors, whitening.safetensors if there is a whitening, and encoder.json."""
        file = folder / ENCODER
        with atomic_write(file) as part:
            write_tensors(part, self.net.state_dict())
        record = EncoderRecord(
            self.spec,
            self.net.projector_spec,
            self.input_spec,
            {**PREPROCESSING},
            sha256(file),
            self._save_whitening(folder / WHITENING),
        )
        write_json(folder / ENCODER_SETTINGS, record.as_json())

    def _save_whitening(self, file: Path) -> str | None:
        """Write the whitening, if there is one, and return the hash of its file."""
        if self.whitening is None:
            return None
        with atomic_write(file) as part:
            self.whitening.save(part)
        return sha256(file)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the trained network in a folder. Raises InputError if there is none, DamagedError for a damaged file."""
        record = _read_record(folder)
        return cls(record.encoder, record.input_spec, folder=folder)


def _read_record(folder: Path) -> EncoderRecord:
    file = folder / ENCODER_SETTINGS
    if not file.is_file() and _is_other_format(folder):
        raise InputError(
            f"{printable(folder)} holds the encoder for another library; divcon loads runs, stages and exports as "
            "safetensors: type divcon export RUN out=exported format=safetensors, or name the run"
        )
    if not file.is_file():
        raise InputError(f"{printable(folder)} holds no encoder; name a finished run, or one of its stages (RUN/base)")
    record = load_record(EncoderRecord, file, extra="forbid")
    check_preprocessing(record.preprocess, file)
    return record


def _is_other_format(place: Path) -> bool:
    """Return True for an export that is not loaded, or a file of it."""
    return place.name in OTHER_FORMATS or any((place / name).is_file() for name in OTHER_FORMATS)


def rebuild(spec: EncoderSpec, input_spec: InputSpec, projector: ProjectorSpec, device: str = "cpu") -> Net:
    """Return the network with random weights. On the device "meta" it takes no memory."""
    with host_settings.set_aside(), torch.device(device):
        return Net(build(replace(spec, init="random"), input_spec.size), **asdict(projector))


def _check_hash(file: Path, expected: str) -> None:
    found = sha256(file) if file.is_file() else "no file"
    if found != expected:
        raise DamagedError(
            f"{printable(file)} is damaged ({hash_difference(expected, found)}); put back a copy, or type divcon redo "
            "for the stage that wrote it"
        )


def _read_shapes(file: Path) -> Shapes:
    """Return the shapes of the tensors in a file, from its header."""
    try:
        with safe_open(file, framework="pt") as opened:
            return {name: opened.get_slice(name).get_shape() for name in opened.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise DamagedError(f"{printable(file)} can't be read ({printable(str(error))}); get a copy of it") from error


def _check_projector(folder: Path, shapes: Shapes, projector: ProjectorSpec) -> None:
    """Raise DamagedError if encoder.json names a projector with a side that no weight has."""
    sides = {0, *(side for name, shape in shapes.items() if name.startswith("projector.") for side in shape)}
    for option, side in (("hidden", projector.hidden), ("dim", projector.dim)):
        if side not in sides:
            _refuse(folder, f"projector ({option})", sorted(sides), [side])


def _check_shapes(folder: Path, shapes: Shapes, net: Net) -> None:
    """Raise DamagedError unless the file has exactly the tensors of the net."""
    expected = {name: list(tensor.shape) for name, tensor in net.state_dict().items()}
    for name in sorted({*expected, *shapes}):
        if expected.get(name) != shapes.get(name):
            _refuse(folder, name, shapes.get(name), expected.get(name))


def _refuse(folder: Path, name: str, found: list[int] | None, expected: list[int] | None) -> NoReturn:
    raise DamagedError(
        f"{printable(folder)}/encoder.safetensors does not fit encoder.json: the shape of {printable(name)} is {found}, "
        f"not {expected}; get a copy of both"
    )


def untrained(spec: EncoderSpec, input_spec: InputSpec, seed: int = 0) -> Trained:
    """Return the encoder alone, with the random weights of the seed."""
    with host_settings.set_aside():
        torch.manual_seed(seed)
        return Trained(spec, input_spec, Net(build(spec, input_spec.size)))
