"""Divide and Contrast as in the paper, 4500 ImageNet-epochs: base, experts, student 1000,3000,500; K = 10.

    divcon run DATA out=RUN recipe=dnc_4500 encoder=resnet50 size=224 batch_size=4096 views=byol

Expected: the paper's linear accuracy on ImageNet is 70.7 after JFT-300M and 68.5 after YFCC100M (tables 3 and
8); 3,000 epochs took about a day on 512 TPU v3 cores (table 14). Not run by us. With epochs=N, the same shares of
another budget; encoder and size are derived from the machine unless they are typed.
"""

from ..pipelines.dnc import DnC
from .options import Options
from .paper import DEFAULTS, paper_dnc

about = "DnC to the letter of the paper, 4500 ImageNet-epochs, K = 10"
defaults = DEFAULTS


def recipe(options: Options, n: int) -> DnC:
    """The settings for n images."""
    return paper_dnc(options, n, shares=(1000, 3000, 500), k=10, lr=0.3)
