"""Settings that a method is trained with, as plain data. `divcon/recipes` makes a recipe of each.

The file of a method ends with its `SETTINGS`, by the name of the recipe: NAME for small collections, NAME_paper for the
paper's own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

SMALL_LR = 0.012  # AdamW's learning rate for a batch of 256
SMALL_WEIGHT_DECAY = 1e-4  # AdamW's
IMAGES_PER_CLUSTER = 64  # the mean, for clusters and for prototypes
SMALL_CROPS = {"crops": 2, "crop_share": 0.5}  # small views of an image, for methods with multi-crop

Option = bool | int | float | str


@dataclass(frozen=True)
class Scale:
    """The size of a training, from which some options follow."""

    n_images: int  # in the collection
    batch_size: int  # of all ranks together
    samples_seen: float  # images shown during the whole run, with repeats
    slim_encoder: bool  # one of divcon's slim ResNets


@dataclass(frozen=True, kw_only=True)
class SmallSettings:
    """Settings for 10^3 to 10^5 images and 10^2 to 10^4 steps of AdamW (LOG.md, 2026-11-22).

    `lr` is for a batch of 256. It falls by a cosine, or, with `drops`, to a tenth at each of these shares of the training.
    `options` are the method's own; `scaled` ones are computed from the size of the training. `about` is a line for
    `divcon recipes`, `expected` a measured score, `notes` say what a user should know besides.
    """

    about: str = ""  # empty: "NAME alone for the whole budget"
    expected: str = "nothing yet; nobody has measured it."
    notes: str = ""
    lr: float = SMALL_LR
    drops: tuple[float, ...] | None = None
    options: Mapping[str, Option] = field(default_factory=dict)
    scaled: Mapping[str, Callable[[Scale], Option]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PaperSettings:
    """Settings to the letter of a paper.

    `imagenet_epochs` is the budget: 1,281,167 images each. `lr` is for a batch of 256. It warms up for the share `warmup` of
    the training, at most ten ImageNet-epochs, and then falls as in `SmallSettings`. `encoder` is the one to type for the
    paper's network; `colors="edges"` shows it edges in place of colors. The other fields are those of `SmallSettings`.
    """

    about: str = ""
    expected: str = ""
    notes: str = ""
    imagenet_epochs: float
    optimizer: Literal["sgd", "adamw", "lars", "larc"]
    lr: float
    weight_decay: float
    warmup: float = 0.1
    drops: tuple[float, ...] | None = None
    batch_size: int = 4096
    views: str = "byol"
    encoder: str = "resnet50"
    colors: Literal["rgb", "edges"] = "rgb"
    options: Mapping[str, Option] = field(default_factory=dict)
    scaled: Mapping[str, Callable[[Scale], Option]] = field(default_factory=dict)


Settings = SmallSettings | PaperSettings


def options_at(settings: Settings, scale: Scale) -> dict[str, Option]:
    """The options that the settings give to a method for a training of this size."""
    return {**settings.options, **{name: value(scale) for name, value in settings.scaled.items()}}


def cluster_count(most: int) -> Callable[[Scale], int]:
    """The number of clusters by the size of the collection: one for 64 images, from 8 to `most`."""
    return lambda scale: max(8, min(most, scale.n_images // IMAGES_PER_CLUSTER))


def measured(clip_art: tuple[float, float, float], fashion: tuple[float, float, float]) -> str:
    """The sentence for one run each on Open Clip Art and on Fashion-MNIST: minutes, 20-NN and linear accuracy in percent."""
    return (
        "25,000 images shown, slim10 at 32 pixels, one core of two: Open Clip Art {} minutes, 20-NN / linear {} / {} "
        "(untrained 56.0 / 54.9); 3,000 of Fashion-MNIST {} minutes, {} / {} (69.1 / 74.8). One seed, while other work ran; "
        "docs/results/methods.md has all methods side by side."
    ).format(*clip_art, *fashion)
