"""The last step of Divide and Contrast (https://arxiv.org/abs/2105.08054, section 3.3): a student predicts its teachers' features.

For each image one head predicts the features of the base, another one those of the expert of the image's cluster."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ..losses import regression, squared_distance
from ..nets.heads import regressor
from ..nets.net import Net, width
from ..nets.teacher import Teacher
from .contract import Batch, Method, Outcome, Step


class Distill(Method):
    """Regression of the teachers' features, by one head for each teacher.

    teachers: the base and the experts, in the order of their clusters; labels: the cluster of each image; targets: a function of
    positions [B] that returns the features [B, 2, D] of the base and of the image's own expert, computed before (then no teacher
    is run).

    Teachers of projections are the paper's: the student has a projector like theirs, and heads with a hidden layer on top of its
    projection. For teachers of pooled features, the heads are linear layers on the student's pooled features, and the student
    has no projector.

    Each head runs on the whole batch, and the output of the image's own head is used. So a head whose cluster is missing from a
    batch has a gradient of zero instead of none, and its batch norm has enough images.
    """

    about = "predict the features of a base and of each image's own expert: DnC's student"
    expert_of: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        n_images: int,
        teachers: Sequence[Teacher],
        labels: Int64[Tensor, "n"],
        targets: Callable[[Tensor], Tensor] | None = None,
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
        self.targets = targets

    def start_from(self, net: Net) -> None:
        """Start from the base's weights. For teachers of pooled features, each head starts as the one that would be right if its
        teacher had the base's features, so that the loss is due to what the teacher has learned besides."""
        if self.net.projector is not None:
            super().start_from(net)
            return
        self.net.encoder.load_state_dict(net.encoder.state_dict())
        for head, teacher in zip(self.heads, self.teachers, strict=True):
            head.load_state_dict({"weight": torch.diag(1 / teacher.spread), "bias": -teacher.mean / teacher.spread})

    def begin_cycle(self) -> None:
        """Keep the heads: they belong to this net, not to the base."""

    def forward(self, batch: Batch, at: Step) -> Outcome:
        expert_of = self.expert_of[batch.index]
        targets = self._targets(batch, expert_of).chunk(len(batch.views))
        losses = [self._losses(*pair, expert_of) for pair in zip(batch.views, targets, strict=True)]
        base, expert = (torch.stack(part).mean() for part in zip(*losses, strict=True))
        loss = self.base_share * base + (1 - self.base_share) * expert
        return Outcome(loss, {"base": base.detach(), "expert": expert.detach()})

    def _losses(
        self, view: Tensor, targets: Float[Tensor, "b 2 d"], expert_of: Int64[Tensor, "b"]
    ) -> tuple[Tensor, Tensor]:
        """The student's distance from the base, and from each image's own expert, on one view."""
        z = self.net(view)
        predictions = torch.stack([head(z) for head in self.heads])  # [1 + K, B, dim]
        own = predictions[expert_of, torch.arange(len(view), device=view.device)]
        return self.distance(predictions[0], targets[:, 0]), self.distance(own, targets[:, 1])

    def _targets(self, batch: Batch, expert_of: Int64[Tensor, "b"]) -> Float[Tensor, "vb 2 d"]:
        """The features of the base and of each image's own expert, for the views one after the other."""
        if self.targets is not None:
            return self.targets(batch.index).repeat(len(batch.views), 1, 1)
        views = torch.cat(
            list(batch.views)
        )  # teachers are in eval mode: the features of a view depend on no other view
        base, expert = self.teachers[0](views), self._own_expert(views, expert_of.repeat(len(batch.views)))
        return torch.stack([base, expert], 1)

    def _own_expert(self, views: Tensor, expert_of: Tensor) -> Float[Tensor, "vb d"]:
        """The features of each image by its own expert. An expert runs on the images of its cluster only."""
        features = views.new_empty(len(views), self.teachers[0].dim)
        in_order = expert_of.argsort(stable=True)
        numbers = torch.arange(len(self.teachers), device=expert_of.device)
        counts = (expert_of[:, None] == numbers).sum(0).tolist()  # the only place that waits for a GPU
        for expert, own in zip(self.teachers, torch.split(in_order, counts), strict=True):
            if len(own):
                features[own] = expert(views[own])
        return features
