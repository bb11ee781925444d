"""The last step of Divide and Contrast (https://arxiv.org/abs/2105.08054, section 3.3): one student that predicts what
its teachers see. Of each image it predicts, through one head, the base's projection and, through that expert's head,
the projection of the expert whose cluster holds the image."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ..losses import regression
from ..method import At, Batch, Method, Outcome
from ..nets.heads import regressor
from ..nets.net import Net


class Distil(Method):
    """`teachers` are the base and the experts, in the order of their clusters; `labels` the cluster of each image.

    The heads sit on the student's projection. All heads see the whole batch and the image's own one is read: a head
    whose cluster is missing from a batch then has a zero gradient, not none, and its batch norm enough images.
    """

    about = "predict the projections of a base and of each image's own expert: DnC's student"
    expert_of: Tensor

    def __init__(
        self, encoder: nn.Module, n_images: int, teachers: Sequence[Net], labels: Int64[Tensor, "n"], *,
        hidden: int = 4096, base_share: float = 0.5,
    ):  # fmt: skip
        super().__init__()
        assert len(labels) == n_images, f"{len(labels)} labels for {n_images} images"
        dim = int(teachers[0].shape["dim"])
        self.net = Net(encoder, hidden=int(teachers[0].shape["hidden"]), dim=dim)
        self.heads = nn.ModuleList(regressor(dim, hidden, dim) for _ in teachers)
        self.register_buffer("expert_of", labels + 1)  # teacher 0 is the base
        self.base_share = base_share
        self.teachers = tuple(t.requires_grad_(False).eval() for t in teachers)  # a tuple: no submodules

    def forward(self, batch: Batch, at: At) -> Outcome:
        expert_of = self.expert_of[batch.index]
        losses = [self._both(view, expert_of) for view in batch.views]
        base, expert = (torch.stack(part).mean() for part in zip(*losses, strict=True))
        loss = self.base_share * base + (1 - self.base_share) * expert
        return Outcome(loss, {"base": base.detach(), "expert": expert.detach()})

    def _both(self, view: Tensor, expert_of: Tensor) -> tuple[Tensor, Tensor]:
        """The student's distance from the base, and from each image's own expert, on one view that all of them see."""
        z = self.net(view)
        guesses = torch.stack([head(z) for head in self.heads])  # [1 + K, B, dim]
        own = guesses[expert_of, torch.arange(len(view), device=view.device)]
        with torch.no_grad():
            base, expert = self.teachers[0](view), self._own_expert(view, expert_of)
        return regression(guesses[0], base), regression(own, expert)

    def _own_expert(self, view: Tensor, expert_of: Tensor) -> Float[Tensor, "b d"]:
        """What each image's own expert makes of it: an expert runs on its own images only."""
        seen = view.new_empty(len(view), int(self.net.shape["dim"]))
        for number, expert in enumerate(self.teachers):
            own = (expert_of == number).nonzero()[:, 0]
            if len(own):
                seen[own] = expert(view[own])
        return seen
