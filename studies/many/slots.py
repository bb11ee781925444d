"""A training step that is recorded once and replayed for one training after another, beside others on streams of their own.

A small network leaves a GPU idle: the host begins each of 500 kernels of a step later than the GPU could. A recorded step (a CUDA
graph) is begun by one call, and steps of many trainings run beside each other. All that differs from training to training (the
weights, the images of each step, rates, targets) is in tensors that the recorded step reads.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from divcon.methods.contract import Batch, Method, Step
from divcon.methods.momentum_method import MomentumMethod
from divcon.nets.momentum import momentum_at
from divcon.train.optimizers import parameter_groups
from divcon.train.schedules import learning_rate, warmup_steps

from .views import ViewPool, as_input

ANY_STEP = Step(0, 1, 0)  # the methods here look at no step but for their momentum, which the slot moves
CHUNK = 32  # steps that are begun at once
AHEAD = 2  # chunks
WARMUP = 0.1  # the training loop's default
State = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Training:
    """A training of a kind that some slots can do: where it starts, the rows of the view pool at each step, the rate and the
    momentum at each step."""

    state: State
    rows: Int64[Tensor, "steps b"]
    rates: Float[Tensor, " steps"]
    momenta: Float[Tensor, " steps"]

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def of(cls, method: Method, rows: Int64[Tensor, "steps b"], lr: float) -> "Training":
        """A training from the method's weights, with the schedules of the training loop. `lr` is for a batch of 256."""
        steps, batch = rows.shape
        peak, warm = lr * batch / 256, warmup_steps(WARMUP, steps * batch, batch)
        rates = [learning_rate(step, steps, peak=peak, warmup=warm) for step in range(steps)]
        momenta = [momentum_at(None, step, steps) for step in range(steps)]
        state = {name: value.detach().clone() for name, value in method.state_dict().items()}
        return cls(state, rows, torch.tensor(rates), torch.tensor(momenta))


class Slot:
    """A method with its optimizer, and the step that moves them; a GPU records it (`graph`)."""

    def __init__(
        self,
        method: Method,
        pool: ViewPool,
        batch: int,
        most_steps: int,
        weight_decay: float,
        graph: bool,
        bf16: bool = False,
    ):
        self.device, self.pool, self.bf16 = pool.views.device, pool, bf16
        self.method = method.to(self.device).to(memory_format=torch.channels_last).train()
        _count_no_batches(self.method)
        self.rows = torch.zeros(most_steps, batch, dtype=torch.int64, device=self.device)
        self.rates, self.momenta = (torch.zeros(most_steps, device=self.device) for _ in range(2))
        self.at = torch.zeros(1, dtype=torch.int64, device=self.device)
        self.loss, self.rate = (torch.zeros((), device=self.device) for _ in range(2))
        groups = parameter_groups(self.method, weight_decay, decay_all=False)
        self.optimizer = torch.optim.AdamW(groups, lr=self.rate, fused=True, capturable=graph)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate  # the tensor itself, which a step writes
        self.stream: Any = torch.cuda.Stream(self.device) if graph else None  # type: ignore[no-untyped-call]
        self.replay: Callable[[], None] = self._recorded() if graph else self._step
        self.left, self.events = 0, list[Any]()  # torch gives events no types

    def _step(self) -> None:
        """Do a step of the training loop, with all numbers from tensors."""
        row = self.rows.index_select(0, self.at)[0]
        self.rate.copy_(self.rates.index_select(0, self.at)[0])
        shown = self.pool.views.index_select(0, row)
        views = [as_input(shown[:, i]) for i in range(shown.shape[1])]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            outcome = self.method(Batch(views, row % len(self.pool)), ANY_STEP)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(outcome.loss)
        self.optimizer.step()
        if isinstance(self.method, MomentumMethod):
            follow(self.method, self.momenta.index_select(0, self.at)[0])
        self.loss.copy_(outcome.loss.detach())
        self.at += 1

    def _recorded(self) -> Callable[[], None]:
        torch.backends.cudnn.benchmark = True
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with self.on_stream():
            for _ in range(3):
                self._step()
        self.stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
            self._step()
        torch.backends.cudnn.benchmark = False  # it would try each size of a batch that is encoded
        replay: Callable[[], None] = graph.replay
        return replay

    @torch.no_grad()
    def begin(self, training: Training) -> None:
        """Prepare a training, with nothing left of the last one."""
        tables = ((self.rows, training.rows), (self.rates, training.rates), (self.momenta, training.momenta))
        with self.on_stream():
            load(self.method, training.state)
            for state in self.optimizer.state.values():
                for value in state.values():
                    value.zero_()
            for own, its in tables:
                own[: len(its)].copy_(its)
            self.at.zero_()
        self.left = len(training)

    def go_on(self) -> bool:
        """Begin some more steps, if few are begun; True where something was begun."""
        if not self.left or self._begun() >= AHEAD:
            return False
        steps = min(CHUNK, self.left)
        with self.on_stream():
            for _ in range(steps):
                self.replay()
            if self.stream is not None:
                self.events.append(self.stream.record_event())
        self.left -= steps
        return True

    def ended(self) -> bool:
        return not self.left and not self._begun()

    def _begun(self) -> int:
        """The number of chunks that the GPU has not done yet."""
        self.events = [event for event in self.events if not event.query()]
        return len(self.events)

    def on_stream(self) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext() if self.stream is None else torch.cuda.stream(self.stream)

    @torch.no_grad()
    def features(self) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n h"]]:
        """The pool and the projector's hidden layer, of the center views of all images."""
        net = self.method.net
        assert net.projector is not None
        with self.on_stream():
            net.eval()
            pool = torch.cat([net(as_input(block), "pool") for block in self.pool.blocks()])
            hidden = net.projector.into(pool)
            net.train()
            return pool.cpu(), hidden.cpu()

    def state(self) -> State:
        """The weights of the network alone."""
        with self.on_stream():
            whole = self.method.state_dict()
            return {name: value.cpu() for name, value in whole.items() if name.startswith("net.")}

    def last_loss(self) -> float:
        return float(self.loss)


@torch.no_grad()
def follow(method: MomentumMethod, momentum: Float[Tensor, ""]) -> None:
    """Do as `Momentum.follow` does, with a momentum that is on the device."""
    own: list[Tensor] = list(method.target.net.parameters())
    its: list[Tensor] = list(method.net.parameters())
    steps = list(torch._foreach_sub(its, own))
    torch._foreach_mul_(steps, 1 - momentum)
    torch._foreach_add_(own, steps)


@torch.no_grad()
def load(module: nn.Module, state: State) -> None:
    """Copy weights and buffers into the memory that they have; a count of batches may be missing."""
    for name, own in {**dict(module.named_parameters()), **dict(module.named_buffers())}.items():
        if not name.endswith("num_batches_tracked"):
            own.copy_(state[name])


def _count_no_batches(method: Method) -> None:
    """Batch norms count their batches by a kernel each, and nobody reads the count."""
    for module in method.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.num_batches_tracked = None
