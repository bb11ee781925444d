"""Divide and Contrast as in the paper, 3000 ImageNet-epochs: base, experts, student 1000,1500,500; K = 5.

    divcon run DATA out=RUN recipe=dnc_3000 encoder=resnet50 size=224 batch_size=4096 views=byol

Expected: the paper's linear accuracy on ImageNet is 69.8 after JFT-300M, 67.8 after YFCC100M and 75.8 after ImageNet (tables 3 and
8); 3,000 epochs took about a day on 512 TPU v3 cores (table 14). Not run by us. With epochs=N, the same shares of
another budget; encoder and size are derived from the machine unless they are typed.
"""

from ..pipelines.dnc import DnC
from .options import Options
from .paper import DEFAULTS, paper_dnc

about = "DnC to the letter of the paper, 3000 ImageNet-epochs, K = 5"
defaults = DEFAULTS


def recipe(options: Options, n: int) -> DnC:
    """The settings for n images."""
    return paper_dnc(options, n, shares=(1000, 1500, 500), k=5, lr=0.3)
