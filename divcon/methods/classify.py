"""Supervised classification: the upper line of every table, and the second half of ClusterFit
(https://arxiv.org/abs/1912.03330)."""

import torch.nn.functional as F
from jaxtyping import Int64
from torch import Tensor, nn

from ..clustering.labelings import entropy
from ..data.views.view import View
from ..nets.net import Net, width
from .contract import Batch, Method, Outcome, Step


class Classify(Method):
    """Cross-entropy of a linear classifier. `labels` has a class for each image of the collection."""

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

    def forward(self, batch: Batch, at: Step) -> Outcome:
        features = self.net(batch.views[0])
        logits = self.classifier(features).float()
        targets = self.labels[batch.index]
        accuracy = (logits.argmax(1) == targets).float().mean()
        loss = F.cross_entropy(logits, targets, label_smoothing=self.smoothing)
        return Outcome(loss, {"accuracy": accuracy.detach()}, features=features.detach(), chance=self.chance)
