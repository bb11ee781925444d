"""Divide and Contrast as in the paper, 1000 ImageNet-epochs: base, experts, student 200,600,200; K = 5.

    divcon run DATA out=RUN recipe=dnc_1000 encoder=resnet50 size=224 batch_size=4096 views=byol

Expected: in the paper, linear accuracy on ImageNet 67.9 (JFT-300M; 74.5 on ImageNet) (tables 3 and 8). About a day on 512
TPU v3 cores for 3,000 epochs (table 14); not run by us. With epochs=N the same shares of another budget.
"""

from ..dnc import DnC
from . import Options
from ._paper import paper

about = "DnC to the letter of the paper, 1000 ImageNet-epochs, K = 5"


def recipe(options: Options, n: int) -> DnC:
    return paper(options, n, shares=(200, 600, 200), k=5, lr=0.5)
