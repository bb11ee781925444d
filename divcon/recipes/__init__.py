"""Recipes: a file an experiment. Each has `about`, a line for the list, and `recipe(options, n)`: what every stage of
its pipeline is done with, for so many images. A file's header says the command, the expected time and score."""

import importlib
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Protocol, Self, cast

from pydantic import Field, PositiveFloat

from ..config import Seed, unknown
from ..data.index.index import Near
from ..data.labeled.layout import Split
from ..errors import UsageError
from ..machine import Choice
from ..nets.encoder import SLIM, EncoderSpec
from ..nets.trained import MAX_SIZE, InputSpec
from ..pipelines.clusterfit import ClusterFit
from ..pipelines.dnc import DnC
from ..pipelines.nmf import NMF
from ..pipelines.single import Single
from ..pipelines.supervised import Supervised
from ..train.schedules import IMAGENET

Recipe = DnC | Single | ClusterFit | Supervised | NMF
Passes = Annotated[float, Field(gt=0, le=1e6)]
Width = Annotated[int, Field(ge=1, le=MAX_SIZE)]
DEVICES = re.compile(r"auto|cpu|(cuda|mps|xpu)(:[0-9]{1,4})?")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What everyone types, in short. None: derived from the collection and the machine, and said with its reason."""

    recipe: str = "dnc"
    epochs: Passes | None = None  # passes over the collection, summed over all stages
    imagenet_epochs: Passes | None = None  # the paper's count: 1,281,167 images each, whatever the collection
    seed: Seed = 0
    encoder: str | None = None
    size: Annotated[int, Field(le=MAX_SIZE)] | None = None
    batch_size: Annotated[int, Field(le=2**30)] | None = None
    method: str = "moclr"
    init: str = "random"
    hidden: Width | None = None  # the projector's widths
    dim: Width | None = None
    views: str | None = None
    base: str | None = None
    labels: str | None = (
        None  # a labeled folder, to compare experts with the base by; only supervised ones learn from it
    )
    split: Split = "auto"  # of that folder: none if each folder in it is a class, or its parts, like train,val
    device: str = "auto"
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    channels_last: Choice = "auto"  # the memory format of images
    fast_small_maps: bool = True  # the same network, in a quicker form
    compiled: bool = False  # by torch.compile
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.229, 0.224, 0.225)
    limit: Annotated[int, Field(ge=1, le=2**48)] | None = None
    include: str | tuple[str, ...] = ()
    exclude: str | tuple[str, ...] = ()
    near_duplicates: Near = "keep"  # or "drop": of pictures that look alike, use one

    def __post_init__(self) -> None:
        for name, least in {"size": 8, "batch_size": 2}.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name}={value:g}: at least {least:g}")
        if self.split != "auto" and self.labels is None:
            raise UsageError(f"split={self.split}: it says how a folder of labels is laid out; type labels=FOLDER too")
        if not DEVICES.fullmatch(self.device):
            raise UsageError(
                f"device={self.device}: there is cpu, cuda, cuda:1, mps, xpu; device=auto takes what there is"
            )

    def by(self, method: str) -> Self:
        """The options for a recipe of a method of its own: another one can't be typed."""
        if self.method not in ("moclr", method):
            raise UsageError(
                f"recipe={self.recipe} learns by {method}; method={self.method} is for recipe=dnc and clusterfit"
            )
        return replace(self, method=method)

    def spec(self) -> EncoderSpec:
        assert self.encoder is not None
        return EncoderSpec(self.encoder, init=self.init)

    def input_spec(self) -> InputSpec:
        assert self.size is not None
        return InputSpec(self.size, self.mean, self.std)

    def learning(self) -> dict[str, Any]:
        """What every training of a recipe has, as it was typed or derived: batch, seed, encoder, sight, views."""
        assert self.batch_size is not None and self.views is not None
        return {
            "batch_size": self.batch_size,
            "seed": self.seed,
            "encoder": self.spec(),
            "input_spec": self.input_spec(),
            "views": self.views,
        }

    def samples_seen(self, n: int, otherwise: float = 60) -> float:
        """The whole budget: how many images to show, over all stages."""
        if self.imagenet_epochs is not None:
            return self.imagenet_epochs * IMAGENET
        return (otherwise if self.epochs is None else self.epochs) * n

    def heads(self) -> tuple[int, int]:
        """The projector's hidden and output width: the paper's, or an eighth and a half of it for slim encoders."""
        hidden, dim = (512, 128) if self.encoder in SLIM else (4096, 256)
        return self.hidden or hidden, self.dim or dim


class Module(Protocol):
    about: str
    defaults: dict[str, Any]  # of the short options; where there is none, and nothing is typed, it is derived
    recipe: Callable[[Options, int], Recipe]


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def named(name: str) -> Module:
    if name not in names():
        raise UsageError(unknown("recipe", name, names()))
    return cast(Module, importlib.import_module(f"{__name__}.{name}"))


def settled(options: Options, n: int, device: str) -> tuple[Options, list[str]]:
    """The options with nothing left open, and the reasons for what was chosen."""
    if options.epochs is not None and options.imagenet_epochs is not None:
        raise UsageError("epochs= and imagenet_epochs= are two counts of the same budget; type one of them")
    left_open = {
        name: value for name, value in named(options.recipe).defaults.items() if getattr(options, name) is None
    }
    chosen, reasons = (
        replace(options, **left_open),
        [f"{name} {value}: {options.recipe}'s" for name, value in left_open.items()],
    )
    where = "a GPU" if device != "cpu" else "a CPU"
    if chosen.encoder is None:
        chosen = replace(chosen, encoder="resnet50" if device != "cpu" else "slim10")
        reasons.append(f"encoder {chosen.encoder}: for {where}")
    if chosen.size is None:
        chosen = replace(chosen, size=32 if chosen.encoder in SLIM else 224 if device != "cpu" else 64)
        reasons.append(f"size {chosen.size}: for {chosen.encoder} on {where}")
    if chosen.batch_size is None:
        chosen = replace(chosen, batch_size=batch_for(n))
        reasons.append(f"batch {chosen.batch_size}: {n:,} images / {n / batch_for(n):.0f}")
    if chosen.views is None:
        chosen = replace(chosen, views="mild" if cast(int, chosen.size) < 96 else "byol")
        reasons.append(f"views {chosen.views}: for {chosen.size} pixels")
    return chosen, reasons


def batch_for(n: int) -> int:
    """The power of two nearest below a 96th of the collection, from 16 to 256: few images need many steps."""
    return max(16, min(256, 1 << max(0, (n // 96).bit_length() - 1)))
