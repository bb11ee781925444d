"""SEER as in the paper (https://arxiv.org/abs/2103.01988): SwAV on a RegNetY, one epoch over images that nobody chose.

    divcon run DATA out=RUN recipe=seer_paper encoder=regnety_320 size=224 batch_size=8192 views=swav precision=bf16

Expected: the paper's linear accuracy on ImageNet after 10^9 images is 74.0 with RegNetY-32GF (regnety_320) and 77.5 with its
256GF (regnety_2560; regnety_640 and regnety_1280 lie between). Not run by us. Views are 2 x 224 + 4 x 96. The blocks of the
encoder are computed again for the gradient; base.recompute=false saves that time where there is the memory. The paper warms
up for 8,000 steps, from 0.15 to 9.6, and ends at 0.0096; ours begins and ends at 0, and warms up for ten ImageNet-epochs.
"""

from dataclasses import replace

from ..methods.settings import PaperSettings
from ..nets.encoder import SLIM
from ..pipelines.single import Single
from .options import Options
from .paper import paper_pretrain

SETTINGS = PaperSettings(
    imagenet_epochs=1,
    optimizer="larc",
    lr=0.3,
    weight_decay=1e-5,
    options={
        "hidden": 8192,
        "dim": 256,
        "layers": 3,
        "norm_hidden": False,
        "prototypes": 16_000,
        "sinkhorn": 10,
        "crops": 4,
    },
)

about = "SEER to the letter of the paper: SwAV on a RegNetY, one epoch over the data"
defaults: dict[str, object] = {"encoder": "regnety_320", "size": 224, "batch_size": 8192, "views": "swav"}


def recipe(options: Options, n: int) -> Single:
    """The settings for n images."""
    typed = options if options.epochs or options.imagenet_epochs else replace(options, epochs=1.0)
    base = paper_pretrain(replace(typed, method="swav"), n, SETTINGS)
    return Single(base=replace(base, recompute=options.encoder not in SLIM))
