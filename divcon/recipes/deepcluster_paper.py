"""DeepCluster as in the paper: 10,000 clusters, edges for colors, plain views, SGD at a level rate, 200 ImageNet-epochs.

    divcon run DATA out=RUN recipe=deepcluster_paper encoder=vgg16_bn size=224 batch_size=256 views=crop

Expected: no number for this network is at hand; AlexNet reaches 41.0 in linear accuracy on ImageNet from its third layer
(https://arxiv.org/abs/1807.05520, table 1). Not run by us. The budget counts the images learned from; each pass begins with a
look at the whole collection besides. Not the paper's: what is clustered has gone through the last ReLU, and there is no dropout
(base.encoder.options={"drop_rate":0.5}); biases and norms are not decayed.
"""

from dataclasses import replace
from typing import Any

from ..pipelines.single import Single
from . import Options
from ._paper import alone

about = "DeepCluster with its paper's settings, 10,000 clusters"
defaults: dict[str, Any] = {"batch_size": 256, "views": "crop"}


def recipe(options: Options, n: int) -> Single:
    base = alone(
        options.by("deepcluster"),
        n,
        imagenet_epochs=200,
        optimizer="sgd",
        lr=0.05,
        weight_decay=1e-5,
        warmup=0,
        drops=(),
        clusters=min(10_000, max(2, n // 2)),
        components=256,
    )
    return Single(base=replace(base, encoder=replace(base.encoder, colors="edges")))
