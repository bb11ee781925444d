"""MoCo v2 (https://arxiv.org/abs/2003.04297): tell a momentum encoder's view of the image from a queue of earlier images."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from .. import dist
from ..losses import info_nce_of_queue
from ..nets.momentum import Momentum
from ..nets.net import Net
from .contract import Batch, Outcome, Share, Step
from .momentum_method import MomentumMethod
from .settings import PaperSettings, Settings, SmallSettings, measured


class MoCo(MomentumMethod):
    """The first view is the query, the second one the key. The negatives are the keys of the last `queue` images, never those of
    the batch itself. The projector has no batch norm.

    The queue begins as random directions, and has at most half as many keys as there are images: an image's own earlier keys must
    not be its negatives. The paper shuffles batches between ranks, so that the batch norms of a query and its key do not share
    statistics. Here they do: batch norm is over all ranks, and nothing is shuffled.
    The paper moves the momentum encoder before it makes the keys. Here it moves after the step, which is the same from the second
    step on; at the first step it equals the encoder. `momentum=None` derives its start from the number of steps.
    """

    about = "contrast with a momentum encoder's view of the image, against a queue of earlier images"
    queue: Tensor
    queue_position: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        n_images: int,
        *,
        temperature: PositiveFloat = 0.2,
        momentum: Share | None = 0.999,
        queue: PositiveInt = 65536,
        hidden: PositiveInt = 2048,
        dim: PositiveInt = 128,
    ):
        super().__init__()
        self.net = Net(encoder, hidden=hidden, dim=dim, norm_hidden=False, norm_output=False)
        self.target = Momentum(self.net)
        self.temperature, self.momentum = temperature, momentum
        length = min(queue, max(1, n_images // 2))
        self.register_buffer("queue", F.normalize(torch.randn(length, dim), dim=1))
        self.register_buffer("queue_position", torch.zeros((), dtype=torch.int64))

    def forward(self, batch: Batch, at: Step) -> Outcome:
        query, key = self.net(batch.views[0]), F.normalize(self.target(batch.views[1]), dim=1)
        loss = info_nce_of_queue(query, key, self.queue, self.temperature)
        return Outcome(loss, update=(key,), features=query.detach(), chance=math.log(1 + len(self.queue)))

    def momentum_of(self, at: Step) -> float:
        return super().momentum_of(at) if self.momentum is None else self.momentum  # the paper's does not rise

    @torch.no_grad()
    def after_step(self, update: tuple[Tensor, ...], at: Step) -> None:
        super().after_step(update, at)
        (key,) = update
        self._enqueue(dist.all_gather(key))

    def _enqueue(self, keys: Float[Tensor, "b d"]) -> None:
        """Replace the oldest keys of the queue, which is a ring."""
        keys = keys[-len(self.queue) :]
        positions = (self.queue_position + torch.arange(len(keys), device=keys.device)) % len(self.queue)
        self.queue[positions] = keys
        self.queue_position.copy_((positions[-1] + 1) % len(self.queue))


SETTINGS: dict[str, Settings] = {
    "moco": SmallSettings(
        about="MoCo v2 alone for the whole budget",
        expected=measured(clip_art=(0.9, 58.8, 59.2), fashion=(1.4, 72.0, 78.4)),
        notes="The queue has at most half as many keys as the collection has images. The momentum starts by the number of steps, "
        "and rises to 1.",
    ),
    "moco_paper": PaperSettings(
        about="MoCo v2 with its paper's settings, 800 ImageNet-epochs",
        expected="the paper's linear accuracy on ImageNet is 71.1.",
        notes="Biases and batch norms are not decayed; in the authors' code they are. The queue has 65,536 keys; a small "
        "collection shortens it.",
        imagenet_epochs=800,
        optimizer="sgd",
        lr=0.03,
        weight_decay=1e-4,
        warmup=0,
        batch_size=256,
        views="moco",
        options={"hidden": 2048, "dim": 128},
    ),
}
