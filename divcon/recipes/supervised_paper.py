"""Supervised ResNet-50 on ImageNet as in https://arxiv.org/abs/1706.02677: SGD, 90 epochs, the rate falls at 30, 60, 80.

    divcon run DATA out=RUN recipe=supervised_paper labels=FOLDER encoder=resnet50 size=224 batch_size=256

Expected: the paper's top-1 accuracy is 76.4 at 256 images a batch. Not run by us. The rate falls at the same shares of the
training, whatever the budget. recipe=supervised says which images of FOLDER it learns from.
"""

from ..pipelines.supervised import Supervised
from .options import Options
from .paper import budget, paper_classification
from .supervised import truth

EPOCHS = 90
DROPS = (30 / EPOCHS, 60 / EPOCHS, 80 / EPOCHS)

about = "supervised learning by SGD, 90 ImageNet-epochs"
defaults: dict[str, object] = {"batch_size": 256, "views": "crop"}


def recipe(options: Options, n: int) -> Supervised:
    """The settings for n images."""
    images = budget(options, n, EPOCHS)
    base = paper_classification(options, samples_seen=images, warmup=5 / EPOCHS, drops=DROPS)
    return Supervised(truth=truth(options), base=base)
