"""DeepCluster v2 (https://arxiv.org/abs/2006.09882, appendix D): predict the k-means cluster of the image's projection in the
epoch before."""

import torch
import torch.nn.functional as F
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from ..clustering.labelings import cluster_features
from ..data.views.presets import small_crops
from ..data.views.view import View
from ..losses import cosines
from ..nets.memory_bank import MemoryBank
from ..nets.net import Net, by_size
from .contract import Batch, Encode, Method, Outcome, Share, Step
from .settings import SMALL_CROPS, PaperSettings, Settings, SmallSettings, cluster_count, measured


class DeepClusterV2(Method):
    """Spherical k-means at the start of each epoch, over two memory banks: the projections of the two large views, stored
    during the epoch before. The first epoch begins by encoding the collection. Each of the `heads` runs a k-means of its own, in
    turn on either bank, with at most one cluster for eight images. Its centroids are the weights of the classifier, which has no
    parameters to learn or to reset.
    """

    about = "predict the last epoch's spherical k-means clusters, centroids as classifiers (multi-crop)"
    sizes_by = (("crops", 0),)
    centroids: Tensor
    labels: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        n_images: int,
        *,
        clusters: PositiveInt = 3000,
        heads: PositiveInt = 3,
        rounds: PositiveInt = 10,
        temperature: PositiveFloat = 0.1,
        crops: NonNegativeInt = 6,
        crop_share: Share = 96 / 224,
        hidden: PositiveInt = 2048,
        dim: PositiveInt = 128,
    ):
        super().__init__()
        clusters = min(clusters, max(2, n_images // 8))
        self.net = Net(encoder, hidden=hidden, dim=dim, norm_output=False)
        self.bank, self.other_bank = MemoryBank(n_images, dim), MemoryBank(n_images, dim)
        self.temperature, self.rounds, self.crops, self.crop_share = temperature, rounds, crops, crop_share
        self.register_buffer("centroids", F.normalize(torch.randn(heads, clusters, dim), dim=2))
        self.register_buffer("labels", torch.zeros(heads, n_images, dtype=torch.int64))

    def views(self, pair: tuple[View, View]) -> tuple[View, ...]:
        return (*pair, *small_crops(pair[0], self.crops, self.crop_share))

    @torch.no_grad()
    def before_epoch(self, encode: Encode, at: Step) -> None:
        if at.of_training == 0:
            projections = F.normalize(encode("projection"), dim=1)
            self.bank.rows.copy_(projections)
            self.other_bank.rows.copy_(projections)
        for head, centroids in enumerate(self.centroids):
            rows = (self.bank, self.other_bank)[head % 2].rows
            seed = head + len(self.centroids) * at.epoch
            clusters = cluster_features(rows, len(centroids), seed, self.rounds, spherical=True, advice=self.advice)
            centroids.copy_(clusters.centroids)
            self.labels[head] = clusters.labels

    def forward(self, batch: Batch, at: Step) -> Outcome:
        z = [F.normalize(view, dim=1) for view in by_size(self.net, batch.views)]
        targets = self.labels[:, batch.index]
        losses = [
            F.cross_entropy(cosines(view, centroids) / self.temperature, labels)
            for view in z
            for centroids, labels in zip(self.centroids, targets)
        ]
        update = batch.index, z[0].detach(), z[1].detach()
        return Outcome(torch.stack(losses).mean(), update=update, features=z[0].detach())

    def after_step(self, update: tuple[Tensor, ...], at: Step) -> None:
        index, one, other = update
        self.bank.follow(index, one, momentum=0.0)
        self.other_bank.follow(index, other, momentum=0.0)


SETTINGS: dict[str, Settings] = {
    "deepcluster_v2": SmallSettings(
        about="DeepCluster v2: spherical k-means of the last epoch's projections",
        expected=measured(clip_art=(3.0, 59.6, 59.8), fashion=(3.7, 76.1, 79.8)),
        notes="Each image is shown in two large and two small views. Three runs of k-means, with a cluster for 64 images, use the "
        "projections of the epoch before. Only the first epoch begins by encoding the collection, which the budget does not count.",
        options={"temperature": 0.1, **SMALL_CROPS},
        scaled={"clusters": cluster_count(3000)},
    ),
    "deepcluster_v2_paper": PaperSettings(
        about="DeepCluster v2 to the letter of the paper, 800 ImageNet-epochs",
        expected="the authors' linear accuracy on ImageNet is 75.2 (https://github.com/facebookresearch/swav).",
        notes="Views are 2 x 224 + 6 x 96 pixels, with three times 3,000 clusters. The paper's rate begins at 0.3 and ends at "
        "0.0048; ours begins and ends at 0.",
        imagenet_epochs=800,
        optimizer="larc",
        lr=0.3,
        weight_decay=1e-6,
        views="swav",
        options={"hidden": 2048, "dim": 128, "crops": 6},
        scaled={"clusters": lambda scale: min(3000, max(2, scale.n_images // 2))},
    ),
}
