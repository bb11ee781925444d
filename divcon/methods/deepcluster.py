"""DeepCluster (https://arxiv.org/abs/1807.05520): cluster the features, learn to predict the clusters, repeat each epoch."""

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from ..clustering.labelings import cluster_features, normalized_mutual_information, resample_equally
from ..clustering.whitening import whitened
from ..data.views.view import View
from ..nets.net import Net, width
from .contract import Batch, Encode, Method, Outcome, Step
from .settings import PaperSettings, Settings, SmallSettings, cluster_count, measured


class DeepCluster(Method):
    """k-means at the start of each epoch, on the pooled features, whitened and of length one. Then a new classifier learns the
    clusters, and images are drawn so that each cluster is shown equally often. `agreement` in the log is the normalized mutual
    information of an epoch's clusters with those of the epoch before.

    There is at most one cluster for eight images. The paper's networks are shown edges, not colors: `base.encoder.colors=edges`.
    """

    about = "predict k-means clusters of the features, by a new classifier each epoch"
    advice = "have fewer clusters (base.options.clusters=), or lower base.lr"
    labels: Tensor
    resampled: Tensor
    agreement: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        n_images: int,
        *,
        clusters: PositiveInt = 10_000,
        components: PositiveInt = 256,
        rounds: PositiveInt = 20,
    ):
        super().__init__()
        clusters = min(clusters, max(2, n_images // 8))
        self.net = Net(encoder)
        self.classifier = nn.Linear(width(encoder), clusters)
        self.components, self.rounds = components, rounds
        self.register_buffer("labels", torch.zeros(n_images, dtype=torch.int64))
        self.register_buffer("resampled", torch.arange(n_images))
        self.register_buffer("agreement", torch.zeros(()))

    def views(self, pair: tuple[View, View]) -> tuple[View, ...]:
        return pair[:1]

    @torch.no_grad()
    def before_epoch(self, encode: Encode, at: Step) -> None:
        features = F.normalize(whitened(encode("pool"), self.components), dim=1)
        k = self.classifier.out_features
        labels = cluster_features(features, k, at.epoch, self.rounds, spherical=False, advice=self.advice).labels
        self.agreement.fill_(normalized_mutual_information(self.labels.cpu(), labels))
        self.labels.copy_(labels)
        self.resampled.copy_(resample_equally(labels))
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def resampled_indices(self) -> Tensor:
        return self.resampled

    def reset_parameters(self) -> list[nn.Parameter]:
        return [*self.classifier.parameters()]

    def forward(self, batch: Batch, at: Step) -> Outcome:
        features = self.net(batch.views[0])
        logits, targets = self.classifier(features).float(), self.labels[batch.index]
        accuracy = (logits.argmax(1) == targets).float().mean()
        logs = {"accuracy": accuracy.detach(), "agreement": self.agreement}
        return Outcome(F.cross_entropy(logits, targets), logs, features=features.detach())


SETTINGS: dict[str, Settings] = {
    "deepcluster": SmallSettings(
        about="DeepCluster: k-means each epoch, a new classifier, balanced clusters",
        expected=measured(clip_art=(0.8, 60.8, 62.2), fashion=(1.0, 72.9, 78.1)),
        notes="The budget counts the images learned from. Each epoch begins by encoding the whole collection, which is not "
        "counted and costs about a fifth more time. There is a cluster for 64 images. The rate is constant, because each epoch "
        "trains a new classifier. The paper's networks are shown edges in place of colors: base.encoder.colors=edges.",
        drops=(),
        scaled={"clusters": cluster_count(10_000)},
    ),
    "deepcluster_paper": PaperSettings(
        about="DeepCluster with its paper's settings, 10,000 clusters",
        expected="we found no number for this network. AlexNet reaches 41.0 in linear accuracy on ImageNet from its third layer "
        "(https://arxiv.org/abs/1807.05520, table 1).",
        notes="The paper shows edges in place of colors and has a constant rate. The budget counts the images learned from; each "
        "epoch begins by encoding the whole collection besides. Unlike the paper's: the clustered features have gone through the "
        'last ReLU; there is no dropout (base.encoder.options={"drop_rate":0.5}); biases and norms are not decayed.',
        imagenet_epochs=200,
        optimizer="sgd",
        lr=0.05,
        weight_decay=1e-5,
        warmup=0,
        drops=(),
        batch_size=256,
        views="crop",
        encoder="vgg16_bn",
        colors="edges",
        options={"components": 256},
        scaled={"clusters": lambda scale: min(10_000, max(2, scale.n_images // 2))},
    ),
}
