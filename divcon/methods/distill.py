"""The last step of Divide and Contrast (https://arxiv.org/abs/2105.08054, section 3.3): a student predicts its teachers' features.

For each image one head predicts the features of the base, another one those of the expert of the image's cluster. Ours: the
student may keep a loss of its own beside."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ..data.views.view import View
from ..losses import regression, squared_distance
from ..nets.heads import regressor
from ..nets.net import Net, width
from ..nets.teacher import Teacher
from .contract import Batch, Encode, Method, Outcome, Step

Calls = list[tuple[Tensor, Tensor]]  # each input of an encoder, and its output


class Distill(Method):
    """Regression of the teachers' features, by one head for each teacher.

    teachers: the base and the experts, in the order of their clusters; labels: the cluster of each image; targets: a function of
    positions [B] that returns the features [B, 2, D] of the base and of the image's own expert, computed before (then no teacher
    is run); own: a method that learns alone, around the same encoder.

    With `own` its net is the student's, and `own_weight` times its loss is added. It decides on the views; the teachers' loss is
    on the first two, which are the recipe's pair.

    Teachers of projections are the paper's: the student has a projector like theirs, and heads with a hidden layer on top of its
    projection. For teachers of pooled features, the heads are linear layers on the student's pooled features, and the student
    has no projector unless `own` has one.

    Each head runs on the whole batch, and the output of the image's own head is used. So a head whose cluster is missing from a
    batch has a gradient of zero instead of none, and its batch norm has enough images.
    """

    about = "predict the features of a base and of each image's own expert: DnC's student"
    advice = "lower student.lr, or take a larger batch_size"
    expert_of: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        n_images: int,
        teachers: Sequence[Teacher],
        labels: Int64[Tensor, "n"],
        targets: Callable[[Tensor], Tensor] | None = None,
        own: Method | None = None,
        *,
        hidden: int = 4096,
        base_share: float = 0.5,
        own_weight: float = 0.5,
    ):
        super().__init__()
        assert len(labels) == n_images, f"{len(labels)} labels for {n_images} images"
        base, dim = teachers[0], teachers[0].dim
        self.layer = base.layer
        if own is not None:
            assert own.net.encoder is encoder, "the student and its own method have one encoder"
            vars(self)["net"] = own.net  # no submodule a second time: each tensor is saved once
        elif base.layer == "projection":
            self.net = Net(encoder, hidden=base.net.projector_spec.hidden, dim=dim)
        else:
            self.net = Net(encoder)
        if base.layer == "projection":
            self.heads = nn.ModuleList(regressor(self.net.projector_spec.dim, hidden, dim) for _ in teachers)
        else:
            self.heads = nn.ModuleList(nn.Linear(width(encoder), dim) for _ in teachers)
        self.register_buffer("expert_of", labels + 1)  # teacher 0 is the base
        self.base_share, self.distance = base_share, regression if base.layer == "projection" else squared_distance
        self.teachers = tuple(teacher.eval() for teacher in teachers)  # a tuple: no submodules
        self.targets, self.own, self.own_weight = targets, own, own_weight

    def views(self, pair: tuple[View, View]) -> tuple[View, ...]:
        views = pair if self.own is None else self.own.views(pair)
        assert views[:2] == pair, "the student's own method learns from the recipe's pair, too"
        return views

    def sides(self, pair: tuple[View, View]) -> set[int]:
        return super().sides(pair) if self.own is None else self.own.sides(pair)

    def start_from(self, net: Net) -> None:
        """Start from the base's weights. For teachers of pooled features, each head starts as the one that would be right if its
        teacher had the base's features, so that the loss is due to what the teacher has learned besides."""
        if self.own is not None:
            self.own.start_from(net)
        elif self.net.projector is not None:
            super().start_from(net)
        else:
            self.net.encoder.load_state_dict(net.encoder.state_dict())
        if self.layer == "pool":
            for head, teacher in zip(self.heads, self.teachers, strict=True):
                head.load_state_dict({"weight": torch.diag(1 / teacher.spread), "bias": -teacher.mean / teacher.spread})

    def before_epoch(self, encode: Encode, at: Step) -> None:
        if self.own is not None:
            self.own.before_epoch(encode, at)

    def resampled_indices(self) -> Int64[Tensor, "n"] | None:
        return None if self.own is None else self.own.resampled_indices()

    def reset_parameters(self) -> list[nn.Parameter]:
        return [] if self.own is None else self.own.reset_parameters()

    def after_step(self, update: tuple[Tensor, ...], at: Step) -> None:
        if self.own is not None:
            self.own.after_step(update, at)

    def begin_cycle(self) -> None:
        """Keep the heads: they belong to this net, not to the base."""
        if self.own is not None:
            self.own.begin_cycle()

    def forward(self, batch: Batch, at: Step) -> Outcome:
        if self.own is None:
            return self._taught(batch, [])
        with recorded(self.net.encoder) as calls:
            own = self.own(batch, at)
        taught = self._taught(batch, calls)
        logs = {**taught.logs, "own": own.loss.detach(), **{f"own_{name}": value for name, value in own.logs.items()}}
        return Outcome(taught.loss + self.own_weight * own.loss, logs, own.update, own.features)

    def _taught(self, batch: Batch, calls: Calls) -> Outcome:
        """The teachers' loss. The output of the encoder for a view is taken from `calls` where it is there."""
        pair, expert_of = batch.views[:2], self.expert_of[batch.index]
        targets = self._targets(pair, batch.index, expert_of).chunk(len(pair))
        losses = [
            self._losses(self._output(view, calls), target, expert_of)
            for view, target in zip(pair, targets, strict=True)
        ]
        base, expert = (torch.stack(part).mean() for part in zip(*losses, strict=True))
        loss = self.base_share * base + (1 - self.base_share) * expert
        return Outcome(loss, {"base": base.detach(), "expert": expert.detach()})

    def _output(self, view: Tensor, calls: Calls) -> Float[Tensor, "b d"]:
        """The student's output at the layer of its teachers."""
        output = next((output for images, output in calls if images is view and output.requires_grad), None)
        if output is None:
            output = self.net(view, self.layer)
        elif self.layer == "projection" and self.net.projector is not None:
            output = self.net.projector(output)
        return output.float()

    def _losses(
        self, z: Float[Tensor, "b z"], targets: Float[Tensor, "b 2 d"], expert_of: Int64[Tensor, "b"]
    ) -> tuple[Tensor, Tensor]:
        """The student's distance from the base, and from each image's own expert, on one view."""
        predictions = torch.stack([head(z) for head in self.heads])  # [1 + K, B, dim]
        own = predictions[expert_of, torch.arange(len(z), device=z.device)]
        return self.distance(predictions[0], targets[:, 0]), self.distance(own, targets[:, 1])

    def _targets(
        self, pair: Sequence[Tensor], index: Int64[Tensor, "b"], expert_of: Int64[Tensor, "b"]
    ) -> Float[Tensor, "vb 2 d"]:
        """The features of the base and of each image's own expert, for the views one after the other."""
        if self.targets is not None:
            return self.targets(index).repeat(len(pair), 1, 1)
        views = torch.cat(list(pair))  # teachers are in eval mode: the features of a view depend on no other view
        base, expert = self.teachers[0](views), self._own_expert(views, expert_of.repeat(len(pair)))
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


@contextmanager
def recorded(encoder: nn.Module) -> Iterator[Calls]:
    """Record the calls of an encoder."""
    calls: Calls = []
    hook = encoder.register_forward_hook(lambda _, inputs, output: calls.append((inputs[0], output)))
    try:
        yield calls
    finally:
        hook.remove()
