"""Learn to tell given labels apart: the upper line of every table, and the second half of ClusterFit
(https://arxiv.org/abs/1912.03330)."""

import torch.nn.functional as F
from jaxtyping import Int64
from torch import Tensor, nn

from ..clustering.labelings import entropy
from ..data.views.view import View
from ..nets.net import Net, width
from .contract import At, Batch, Method, Outcome


class Classify(Method):
    """`labels` holds a class for each image of the collection."""

    about = "predict a given label for each image: supervised learning"
    labels: Tensor

    def __init__(self, encoder: nn.Module, n_images: int, labels: Int64[Tensor, "n"], *, smoothing: float = 0.0):
        super().__init__()
        assert len(labels) == n_images, f"{len(labels)} labels for {n_images} images"
        self.net = Net(encoder)
        self.classifier = nn.Linear(width(encoder), int(labels.max()) + 1)
        self.register_buffer("labels", labels)
        self.smoothing, self.chance = smoothing, entropy(labels)

    def views(self, pair: tuple[View, View]) -> tuple[View, ...]:
        return pair[:1]

    def forward(self, batch: Batch, at: At) -> Outcome:
        pool = self.net(batch.views[0])
        logits = self.classifier(pool).float()
        truth = self.labels[batch.index]
        right = (logits.argmax(1) == truth).float().mean()
        loss = F.cross_entropy(logits, truth, label_smoothing=self.smoothing)
        return Outcome(loss, {"accuracy": right.detach()}, features=pool.detach(), chance=self.chance)
