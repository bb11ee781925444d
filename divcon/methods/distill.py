"""The last step of Divide and Contrast (https://arxiv.org/abs/2105.08054, section 3.3): one student that predicts what
its teachers see. Of each image it predicts, through one head, what the base sees and, through that expert's head, what
the expert sees whose cluster holds the image."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ..losses import regression, squared_distance
from ..nets.heads import regressor
from ..nets.net import Net, width
from ..nets.teacher import Teacher
from .contract import At, Batch, Method, Outcome


class Distill(Method):
    """`teachers` are the base and the experts, in the order of their clusters; `labels` the cluster of each image.

    Teachers of projections are the paper's: the student has their projector, and heads of a hidden layer on top of its
    projection. Teachers of pools are met by a linear head on the student's pool, which has no projector then.

    With `kept`, which gives what the base and its own expert say of each image's center view, no teacher is run.

    All heads see the whole batch and the image's own one is read: a head whose cluster is missing from a batch then has
    a zero gradient, not none, and its batch norm enough images.
    """

    about = "predict what a base and each image's own expert see: DnC's student"
    expert_of: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        n_images: int,
        teachers: Sequence[Teacher],
        labels: Int64[Tensor, "n"],
        kept: Callable[[Tensor], Tensor] | None = None,
        *,
        hidden: int = 4096,
        base_share: float = 0.5,
    ):
        super().__init__()
        assert len(labels) == n_images, f"{len(labels)} labels for {n_images} images"
        base, dim = teachers[0], teachers[0].dim
        if base.layer == "projection":
            self.net = Net(encoder, hidden=base.net.projector_spec.hidden, dim=dim)
            self.heads = nn.ModuleList(regressor(dim, hidden, dim) for _ in teachers)
        else:
            self.net = Net(encoder)
            self.heads = nn.ModuleList(nn.Linear(width(encoder), dim) for _ in teachers)
        self.register_buffer("expert_of", labels + 1)  # teacher 0 is the base
        self.base_share, self.distance = base_share, regression if base.layer == "projection" else squared_distance
        self.teachers = tuple(teacher.eval() for teacher in teachers)  # a tuple: no submodules
        self.kept = kept

    def start_from(self, net: Net) -> None:
        """Take up the base's weights; where teachers are met at the pool, each head begins as if its teacher saw what the
        base sees, so that the student is pulled by what a teacher knows more, and by nothing else."""
        if self.net.projector is not None:
            super().start_from(net)
            return
        self.net.encoder.load_state_dict(net.encoder.state_dict())
        for head, teacher in zip(self.heads, self.teachers, strict=True):
            head.load_state_dict({"weight": torch.diag(1 / teacher.spread), "bias": -teacher.mean / teacher.spread})

    def forward(self, batch: Batch, at: At) -> Outcome:
        expert_of = self.expert_of[batch.index]
        truths = self._taught(batch, expert_of).chunk(len(batch.views))
        losses = [self._both(view, truth, expert_of) for view, truth in zip(batch.views, truths, strict=True)]
        base, expert = (torch.stack(part).mean() for part in zip(*losses, strict=True))
        loss = self.base_share * base + (1 - self.base_share) * expert
        return Outcome(loss, {"base": base.detach(), "expert": expert.detach()})

    def _both(
        self, view: Tensor, truth: Float[Tensor, "b 2 d"], expert_of: Int64[Tensor, "b"]
    ) -> tuple[Tensor, Tensor]:
        """The student's distance from the base, and from each image's own expert, on one view."""
        z = self.net(view)
        guesses = torch.stack([head(z) for head in self.heads])  # [1 + K, B, dim]
        own = guesses[expert_of, torch.arange(len(view), device=view.device)]
        return self.distance(guesses[0], truth[:, 0]), self.distance(own, truth[:, 1])

    def _taught(self, batch: Batch, expert_of: Int64[Tensor, "b"]) -> Float[Tensor, "vb 2 d"]:
        """What the base and each image's own expert see: of the student's own views, one after the other, or as kept."""
        if self.kept is not None:
            return self.kept(batch.index).repeat(len(batch.views), 1, 1)
        views = torch.cat(list(batch.views))  # teachers are in eval mode: what they see of a view depends on no other
        base, expert = self.teachers[0](views), self._own_expert(views, expert_of.repeat(len(batch.views)))
        return torch.stack([base, expert], 1)

    def _own_expert(self, views: Tensor, expert_of: Tensor) -> Float[Tensor, "vb d"]:
        """What each image's own expert makes of it: an expert runs on its own images only."""
        seen = views.new_empty(len(views), self.teachers[0].dim)
        for number, expert in enumerate(self.teachers):
            own = (expert_of == number).nonzero()[:, 0]
            if len(own):
                seen[own] = expert(views[own])
        return seen
