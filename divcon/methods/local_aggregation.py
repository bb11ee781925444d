"""Local Aggregation (https://arxiv.org/abs/1903.12355): pull an image towards its close neighbors, which share a cluster with
it."""

import torch
from jaxtyping import Bool, Float, Int64
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from ..clustering.labelings import cluster_features
from ..losses import similarities
from .contract import Batch, Encode, Outcome, Share, Step
from .npid import NPID
from .settings import PaperSettings, Settings, SmallSettings, measured


class LocalAggregation(NPID):
    """Begins as instance recognition and continues with its net and its memory bank.

    `recognition` is the least share of the training that instance recognition takes: 10 of the paper's 200 epochs. From the next
    epoch on, the memory bank is clustered `clusterings` times at the start of each epoch. There is at most one cluster for eight
    images, and there are at most as many neighbors as images.
    """

    about = "pull an image towards the neighbors that share a cluster with it, in any of several clusterings"
    advice = "have fewer clusters (base.options.clusters=), or more recognition before (base.options.recognition=)"
    labels: Tensor
    has_labels: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        n_images: int,
        *,
        recognition: Share = 0.05,
        clusters: PositiveInt = 30000,
        clusterings: PositiveInt = 10,
        neighbors: PositiveInt = 4096,
        rounds: PositiveInt = 20,
        temperature: PositiveFloat = 0.07,
        negatives: NonNegativeInt = 4096,
        inertia: Share = 0.5,
        normalizer: PositiveFloat | None = None,
        hidden: NonNegativeInt = 0,
        dim: PositiveInt = 128,
    ):
        super().__init__(
            encoder,
            n_images,
            temperature=temperature,
            negatives=negatives,
            inertia=inertia,
            normalizer=normalizer,
            hidden=hidden,
            dim=dim,
        )
        self.recognition, self.rounds = recognition, rounds
        self.clusters, self.neighbors = min(clusters, max(1, n_images // 8)), min(neighbors, n_images)
        self.register_buffer("labels", torch.zeros(clusterings, n_images, dtype=torch.int64))
        self.register_buffer("has_labels", torch.zeros((), dtype=torch.bool))

    def before_epoch(self, encode: Encode, at: Step) -> None:
        if at.fraction < self.recognition and not self.has_labels:  # a second cycle has them from the first one
            return
        for number, labels in enumerate(self.labels):
            seed = at.epoch * len(self.labels) + number
            clusters = cluster_features(
                self.bank.rows, self.clusters, seed, self.rounds, spherical=False, advice=self.advice
            )
            labels.copy_(clusters.labels)
        self.has_labels.fill_(True)

    def forward(self, batch: Batch, at: Step) -> Outcome:
        if not self.has_labels:
            return super().forward(batch, at)
        z = self.net(batch.views[0])
        logits, features = similarities(z, self.bank.rows, self.temperature), z.detach()
        background = background_neighbors(logits.detach(), batch.index, self.neighbors)
        close = close_neighbors(background, batch.index, self.labels)
        loss = local_aggregation(logits.gather(1, background), close)
        return Outcome(loss, {"close": close.float().mean()}, (batch.index, features), features=features)


def background_neighbors(logits: Float[Tensor, "b n"], index: Int64[Tensor, "b"], k: int) -> Int64[Tensor, "b k"]:
    """B_i: the positions of the k images with the largest logits, always with the image itself."""
    own = index[:, None]
    return logits.scatter(1, own, float("inf")).topk(k, dim=1).indices


def close_neighbors(
    background: Int64[Tensor, "b k"], index: Int64[Tensor, "b"], labels: Int64[Tensor, "h n"]
) -> Bool[Tensor, "b k"]:
    """The mask of the background neighbors in C_i, the union over clusterings of the clusters of the image."""
    return (labels[:, background] == labels[:, index, None]).any(0)


def local_aggregation(logits: Float[Tensor, "b k"], close: Bool[Tensor, "b k"]) -> Float[Tensor, ""]:
    """-log of P(C_i and B_i) / P(B_i), mean over the batch (section 3.2). Z cancels; each row has at least one close neighbor."""
    close_logits = logits.masked_fill(~close, float("-inf"))
    return (logits.logsumexp(1) - close_logits.logsumexp(1)).mean()


SETTINGS: dict[str, Settings] = {
    "local_aggregation": SmallSettings(
        about="Local Aggregation alone for the whole budget",
        expected=measured(clip_art=(2.2, 58.2, 57.9), fashion=(2.7, 74.2, 77.0)),
        notes="The first quarter of the epochs is instance recognition with the whole softmax. The rest is Local Aggregation: the "
        "memory bank is clustered three times at the start of each epoch, with a cluster for 40 images as in the paper. A larger "
        "share of the images than in the paper are neighbors.",
        options={"negatives": 0, "temperature": 0.07, "recognition": 0.25, "clusterings": 3},
        scaled={
            "clusters": lambda scale: max(2, scale.n_images // 40),
            "neighbors": lambda scale: max(64, scale.n_images // 8),
        },
    ),
    "local_aggregation_paper": PaperSettings(
        about="Local Aggregation with its paper's settings",
        expected="the paper's linear accuracy on ImageNet is 58.8 (ResNet-50, one crop).",
        notes="The first 10 of 200 epochs, or the same share of another budget, are instance recognition. Then the memory bank is "
        "clustered at the start of each epoch, ten times into 30,000. The rate is the paper's 0.03 for its batch of 128.",
        imagenet_epochs=200,
        optimizer="sgd",
        lr=0.06,
        weight_decay=1e-4,
        warmup=0,
        drops=(0.8, 0.94),
        batch_size=128,
        views="npid",
        options={"recognition": 0.05, "normalizer": 2876934.2 / 1281167, "dim": 128},
    ),
}
