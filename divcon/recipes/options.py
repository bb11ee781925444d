"""The options that every recipe has, with their short names."""

import re
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self, TypedDict

from pydantic import Field, PositiveFloat

from ..config import Seed
from ..data.index.table import NearDuplicates
from ..data.labeled.layout import Split
from ..errors import UsageError
from ..machine import AutoBool
from ..nets.encoder import SLIM, EncoderSpec
from ..nets.trained import MAX_SIZE, InputSpec
from ..train.schedules import IMAGENET

Epochs = Annotated[float, Field(gt=0, le=1e6)]
Width = Annotated[int, Field(ge=1, le=MAX_SIZE)]
DEVICES = re.compile(r"auto|cpu|(cuda|mps|xpu)(:[0-9]{1,4})?")
EPOCHS = 60  # where no budget is typed
ANY_METHOD = "moclr"  # `method=` where none is typed; recipe=moclr takes any other in its place


class TrainingOptions(TypedDict):
    """The fields of `NetworkTraining` that every stage of a recipe shares."""

    batch_size: int
    seed: int
    encoder: EncoderSpec
    input_spec: InputSpec
    views: str


@dataclass(frozen=True, kw_only=True)
class Options:
    """The short options. None means: derived from the collection and the machine, and logged with its reason."""

    recipe: str = "dnc"
    epochs: Epochs | None = None  # passes over the collection, summed over all stages
    imagenet_epochs: Epochs | None = None  # the paper's count: 1,281,167 images each, whatever the collection
    seed: Seed = 0
    encoder: str | None = None
    size: Annotated[int, Field(le=MAX_SIZE)] | None = None
    batch_size: Annotated[int, Field(le=2**30)] | None = None
    method: str = ANY_METHOD
    init: str = "random"
    hidden: Width | None = None  # the projector's widths
    dim: Width | None = None
    views: str | None = None
    base: str | None = None
    # a labeled folder to compare the experts with the base on; only supervised recipes learn from it
    labels: str | None = None
    split: Split = "auto"  # of that folder: none if each folder in it is a class, or its parts, like train,val
    device: str = "auto"
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    channels_last: AutoBool = "auto"  # the memory format of images
    fast_small_maps: bool = True  # the same network, computed faster
    compiled: bool = False  # by torch.compile
    ranks: Annotated[int, Field(strict=True, ge=1, le=2**16)] | Literal["auto"] | None = (
        None  # processes that train together
    )
    expert_ranks: Annotated[int, Field(strict=True, ge=1, le=2**16)] | None = (
        None  # those of them that train an expert: expert.ranks=
    )
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.229, 0.224, 0.225)
    limit: Annotated[int, Field(ge=1, le=2**48)] | None = None
    include: str | tuple[str, ...] = ()
    exclude: str | tuple[str, ...] = ()
    near_duplicates: NearDuplicates = "keep"  # or "drop": use one of the images that look alike

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
        """Return the options with the one method that a recipe learns by. UsageError where another one was typed."""
        if self.method not in (ANY_METHOD, method):
            raise UsageError(
                f"recipe={self.recipe} learns by {method}; method={self.method} is for recipe=dnc and clusterfit"
            )
        return replace(self, method=method)

    def encoder_spec(self) -> EncoderSpec:
        """The encoder to train."""
        assert self.encoder is not None
        return EncoderSpec(self.encoder, init=self.init)

    def input_spec(self) -> InputSpec:
        """The size and the normalization of the images that the encoder is shown."""
        assert self.size is not None
        return InputSpec(self.size, self.mean, self.std)

    def training(self, seed_offset: int = 0) -> TrainingOptions:
        """The options that every training of a recipe has in common. `seed_offset` tells apart the seeds of its stages."""
        assert self.batch_size is not None and self.views is not None
        return {
            "batch_size": self.batch_size,
            "seed": self.seed + seed_offset,
            "encoder": self.encoder_spec(),
            "input_spec": self.input_spec(),
            "views": self.views,
        }

    def samples_seen(self, n: int) -> float:
        """The budget for a collection of n images: how many images all stages together show."""
        if self.imagenet_epochs is not None:
            return self.imagenet_epochs * IMAGENET
        return (EPOCHS if self.epochs is None else self.epochs) * n

    def heads(self) -> tuple[int, int]:
        """The projector's hidden and output width: the paper's, or an eighth and a half of it for slim encoders."""
        hidden, dim = (512, 128) if self.encoder in SLIM else (4096, 256)
        return self.hidden or hidden, self.dim or dim
