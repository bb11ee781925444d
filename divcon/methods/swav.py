"""SwAV (https://arxiv.org/abs/2006.09882): predict the cluster of one view from the others, among online clusters of equal size.
SEER (https://arxiv.org/abs/2103.01988) is SwAV on a large network and uncurated images."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from .. import dist
from ..data.views.presets import small_crops
from ..data.views.view import View
from ..losses import cosines, sinkhorn, swapped_prediction
from ..nets.net import Net, by_size
from .contract import Batch, Method, Outcome, Share, Step
from .settings import SMALL_CROPS, PaperSettings, Settings, SmallSettings, cluster_count, measured


class SwAV(Method):
    """The clusters of two large views are predicted from each other and from `crops` small views. A small view is `crop_share` as
    wide as a large one, and shows less of the image.

    Prototypes are frozen for the first share `hold` of the training: in the paper, the first of 800 epochs. They are normalized in
    each forward, so that the gradient goes through the normalization. Where a batch is small compared with the number of
    prototypes, the projections of `queue` earlier images take part in the assignment, from the epoch `queue_from` on.
    """

    about = "predict the online cluster of a view from other views, clusters equally full (multi-crop)"
    sizes_by = (("crops", 0),)
    advice = (
        "lower epsilon (base.options.epsilon=0.03), freeze prototypes longer (base.options.hold=), or have fewer "
        "(base.options.prototypes=)"
    )
    queue: Tensor
    filled: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        n_images: int,
        *,
        prototypes: PositiveInt = 3000,
        epsilon: PositiveFloat = 0.05,
        sinkhorn: PositiveInt = 3,
        temperature: PositiveFloat = 0.1,
        hold: Share = 1 / 800,
        queue: NonNegativeInt = 0,
        queue_from: NonNegativeInt = 15,
        crops: NonNegativeInt = 6,
        crop_share: Share = 96 / 224,
        hidden: PositiveInt = 2048,
        dim: PositiveInt = 128,
        layers: PositiveInt = 2,
        norm_hidden: bool = True,
    ):
        super().__init__()
        self.net = Net(encoder, hidden=hidden, dim=dim, layers=layers, norm_hidden=norm_hidden, norm_output=False)
        self.prototypes = nn.Linear(dim, prototypes, bias=False)
        self.epsilon, self.rounds, self.temperature, self.hold = epsilon, sinkhorn, temperature, hold
        self.crops, self.crop_share, self.queue_from = crops, crop_share, queue_from
        self.register_buffer("queue", torch.zeros(2, queue, dim))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def views(self, pair: tuple[View, View]) -> tuple[View, ...]:
        return (*pair, *small_crops(pair[0], self.crops, self.crop_share))

    def forward(self, batch: Batch, at: Step) -> Outcome:
        freeze = at.fraction < self.hold
        z = [F.normalize(view, dim=1) for view in by_size(self.net, batch.views)]
        prototypes = F.normalize(self.prototypes.weight.float(), dim=1)
        weights = frozen(prototypes) if freeze else prototypes
        scores = [cosines(view, weights) for view in z]
        codes = [self._codes(i, scores[i].detach(), prototypes.detach(), at) for i in (0, 1)]
        loss = swapped_prediction(scores, codes, self.temperature)
        chance = None if freeze else math.log(len(prototypes))
        return Outcome(loss, update=(z[0].detach(), z[1].detach()), features=z[0].detach(), chance=chance)

    def _codes(self, view: int, scores: Float[Tensor, "b k"], prototypes: Float[Tensor, "k d"], at: Step) -> Tensor:
        """Soft assignments [B, K] of the images by a large view: within the batch, and the queue once it is full."""
        n, length = len(scores), self.queue.shape[1] // dist.world_size()
        if length and at.epoch >= self.queue_from and int(self.filled) >= self.queue.shape[1]:
            own = self.queue[view, dist.rank() * length : (dist.rank() + 1) * length]
            scores = torch.cat([scores, cosines(own, prototypes)])
        return sinkhorn(scores, self.epsilon, self.rounds)[:n]

    @torch.no_grad()
    def after_step(self, update: tuple[Tensor, ...], at: Step) -> None:
        length = self.queue.shape[1]
        if length:
            new = torch.stack([dist.all_gather(z) for z in update])[:, :length]
            self.queue.copy_(torch.cat([new, self.queue], 1)[:, :length])
            self.filled.copy_((self.filled + new.shape[1]).clamp(max=length))


def frozen(x: Tensor) -> Tensor:
    """The same values, with a gradient of zero instead of none."""
    return x.detach() + 0 * x


SETTINGS: dict[str, Settings] = {
    "swav": SmallSettings(
        about="SwAV alone: clusters made online, multi-crop",
        expected=measured(clip_art=(1.3, 58.1, 58.9), fashion=(1.7, 72.1, 77.9)),
        notes="Each image is shown in two large and two small views. There is a prototype for 64 images, and a queue of 15 batches, "
        "as in the paper, from the second epoch on. Prototypes are frozen for the first epoch, at most for a tenth of the "
        "training. When the loss stays at that of chance, the log says what helps.",
        lr=0.004,
        options={"temperature": 0.1, "queue_from": 1, **SMALL_CROPS},
        scaled={
            "prototypes": cluster_count(3000),
            "hold": lambda scale: min(0.1, scale.n_images / scale.samples_seen),
            "queue": lambda scale: min(15 * scale.batch_size, scale.n_images // 2),
        },
    ),
    "swav_paper": PaperSettings(
        about="SwAV to the letter of the paper, 800 ImageNet-epochs",
        expected="the paper's linear accuracy on ImageNet is 75.3 (https://arxiv.org/abs/2006.09882, table 1).",
        notes="Views are 2 x 224 + 6 x 96 pixels. The paper's rate begins at 0.3 and ends at 0.0048; ours begins and ends at 0. For "
        "a batch of 256 the paper has base.options.queue=3840, and no warm-up (base.warmup=0) to base.lr=0.6.",
        imagenet_epochs=800,
        optimizer="larc",
        lr=0.3,
        weight_decay=1e-6,
        views="swav",
        options={"hidden": 2048, "dim": 128, "prototypes": 3000, "crops": 6},
    ),
}
