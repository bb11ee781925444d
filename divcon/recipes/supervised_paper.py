"""Supervised ResNet-50 on ImageNet as in https://arxiv.org/abs/1706.02677: SGD, 90 epochs, the rate falls at 30, 60, 80.

    divcon run DATA out=RUN recipe=supervised_paper labels=FOLDER encoder=resnet50 size=224 batch_size=256

Expected: the paper's top-1 accuracy is 76.4 at 256 images a batch. Not run by us. The rate falls by the shares of 90 epochs,
whatever the budget. What of FOLDER is learned from is said in recipe=supervised.
"""

from ..pipelines.supervised import Supervised
from . import Options
from ._paper import DEFAULTS, budget, by_labels
from .supervised import truth

EPOCHS = 90
DROPS = (30 / EPOCHS, 60 / EPOCHS, 80 / EPOCHS)

about = "supervised learning by SGD, 90 ImageNet-epochs"
defaults = {**DEFAULTS, "batch_size": 256, "views": "crop"}


def recipe(options: Options, n: int) -> Supervised:
    base = by_labels(options, images=budget(options, n, EPOCHS), warmup=5 / EPOCHS, drops=DROPS, seed=options.seed)
    return Supervised(truth=truth(options), base=base)
