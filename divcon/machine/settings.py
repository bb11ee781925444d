"""The settings that a run computes with."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from .. import host_settings
from ..allocator import keeping_memory
from ..errors import out_of_memory

if TYPE_CHECKING:
    import torch

M = TypeVar("M", bound="torch.nn.Module")
Precision = Literal["bf16", "fp32"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
# parts of the error messages of torch on a CPU, torch on a GPU, and oneDNN
OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "could not create a memory", "could not create a primitive")


@dataclass(frozen=True)
class Machine:
    """The settings that a run computes with.

    `compute_threads` are torch's threads; `workers` are threads that decode images and make views. `fast_small_maps` computes
    the same network faster: convolutions of small maps as matrix products, batch norms of teachers folded. `compiled` passes
    each method to torch.compile. `keep_memory` keeps freed memory in the process. `workers` and `keep_memory` change no bit of a
    result (docs/speed.md). `ranks` processes train together, and `expert_ranks` of them train an expert; each has these threads.
    """

    device: str = "cpu"
    precision: Precision = "fp32"
    channels_last: bool = True
    compute_threads: int = 1
    workers: int = 1
    fast_small_maps: bool = True
    compiled: bool = False
    keep_memory: bool = True
    ranks: int = 1
    expert_ranks: int = 1

    @property
    def memory_format(self) -> "torch.memory_format":
        """The memory format of images and features: channels last, or contiguous."""
        import torch

        return torch.channels_last if self.channels_last else torch.contiguous_format

    def to_device(self, module: M) -> M:
        """Move a module to the device and into the memory format, and return it."""
        return module.to(self.device).to(memory_format=self.memory_format)

    def autocast(self) -> "torch.autocast":
        """Return a context in which torch computes in this precision."""
        import torch

        return torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=self.precision == "bf16")

    @contextlib.contextmanager
    def use(self) -> Iterator[None]:
        """Run the block with these settings, and restore the process's settings afterwards."""
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(self.compute_threads)
        try:
            with (
                host_settings.set_aside(),
                _memory_errors(),
                keeping_memory() if self.keep_memory else contextlib.nullcontext(),
            ):
                yield
        finally:
            torch.set_num_threads(before)


@contextlib.contextmanager
def _memory_errors() -> Iterator[None]:
    """Raise ResourceError, with advice, if the block runs out of memory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(part in str(error).lower() for part in OUT_OF_MEMORY):
            raise
        raise out_of_memory(error) from error
