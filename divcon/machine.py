"""What the machine is good at, measured once and remembered, so that a run and its resumes compute alike.

Bits are equal at equal precision, layout and compute threads; these are chosen once a run and kept in run.json.
"""

import contextlib
import os
import platform
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from . import host_settings
from .allocator import keeping_memory
from .errors import DamagedError, UsageError, out_of_memory
from .files.caches import skip_if_unwritable
from .files.integrity import digest, read_json, write_json
from .log import info, warning

if TYPE_CHECKING:
    import torch

M = TypeVar("M", bound="torch.nn.Module")
Precision = Literal["bf16", "fp32"]
AutoBool = bool | Literal["auto"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
ComputeFormat = tuple[Precision, bool]  # and whether channels are last in memory
BF16_GAIN, FIRST_GAIN = 1.5, 1.25  # times as fast: less may be noise
REPEATS = 7
# how torch says it, on a CPU, on a GPU, and in oneDNN
OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "could not create a memory", "could not create a primitive")


@dataclass(frozen=True)
class Machine:
    """`threads` compute; `workers` decode and make views, and change no bit; nor does keeping freed memory.

    `fast_small_maps` stand for the same network in a quicker form: small maps convolved as products, batch norms of teachers
    folded. `compiled` hands each method to torch.compile (docs/speed.md).
    """

    device: str = "cpu"
    precision: Precision = "fp32"
    channels_last: bool = True
    compute_threads: int = 1
    workers: int = 1
    fast_small_maps: bool = True
    compiled: bool = False
    keep_memory: bool = True

    @property
    def memory_format(self) -> "torch.memory_format":
        import torch

        return torch.channels_last if self.channels_last else torch.contiguous_format

    def to_device(self, module: M) -> M:
        """The module, moved to the device and into the layout."""
        return module.to(self.device).to(memory_format=self.memory_format)

    def autocast(self) -> "torch.autocast":
        import torch

        return torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=self.precision == "bf16")

    @contextlib.contextmanager
    def use(self) -> Iterator[None]:
        """Compute as this machine was chosen to, and as before afterwards."""
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(self.compute_threads)
        try:
            with (
                host_settings.set_aside(),
                _within_memory(),
                keeping_memory() if self.keep_memory else contextlib.nullcontext(),
            ):
                yield
        finally:
            torch.set_num_threads(before)


@contextlib.contextmanager
def _within_memory() -> Iterator[None]:
    """Say it in the user's words when there is not enough."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(words in str(error).lower() for words in OUT_OF_MEMORY):
            raise
        raise out_of_memory(error) from error


def available_cores() -> int:
    """The cores this process may use; fewer if OMP_NUM_THREADS says so, as torchrun does."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    told = os.environ.get("OMP_NUM_THREADS", "")
    return min(own, int(told)) if told.isdigit() and int(told) else own


def choose(
    cache: Path,
    *,
    device: str = "auto",
    precision: str = "auto",
    channels_last: AutoBool = "auto",
    fast_small_maps: bool = True,
    compiled: bool = False,
    workers: int | None = None,
    keep_memory: bool = True,
) -> Machine:
    """The machine as asked for; what is left at "auto" is chosen by a short measurement, remembered in the cache."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    _try(device)
    if compiled:
        _try_compiling(device)
    found = _remembered(cache, device, keep_memory) if precision == "auto" else {"precision": precision}
    fast = {"channels_last": True, **found}
    last = bool(fast["channels_last"]) if channels_last == "auto" else channels_last
    return Machine(
        device,
        fast["precision"],
        last,
        available_cores(),
        workers or available_cores(),
        fast_small_maps,
        compiled,
        keep_memory,
    )


def _try(device: str) -> None:
    """Refuse a device that isn't there."""
    import torch

    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines()[0]
        raise UsageError(f"device={device} can't be used here: {why[:120]}; device=auto takes what there is") from None


def _try_compiling(device: str) -> None:
    """Refuse to compile where that can't be done."""
    import torch

    try:
        torch.compile(torch.sin)(torch.zeros(8, device=device))
    except Exception as error:
        why = str(error).splitlines()[0]
        raise UsageError(
            f"compiled=true: torch.compile fails here: {why[:120]}; leave it out, or install a C++ compiler"
        ) from None


def _remembered(cache: Path, device: str, keep_memory: bool) -> dict[str, Any]:
    import torch

    path = cache / "machine.json"
    name = f"{platform.node()} {platform.machine()} {_processor()} {device} torch-{torch.__version__}"
    known = _known(path)
    if name not in known:
        known[name] = measure(device)
        with skip_if_unwritable(cache):
            write_json(path, known)
    return dict(known[name])


def _known(path: Path) -> dict[str, Any]:
    try:
        known = read_json(path)
    except FileNotFoundError:
        return {}
    except (OSError, DamagedError) as error:
        warning(f"{error}. This machine is measured again")
        return {}
    return known if isinstance(known, dict) else {}


def measure(device: str) -> dict[str, Any]:
    """The precision and the memory layout that a small convolutional step is fastest in here.

    Other work on the machine must not decide. So every way is timed by turns, on one thread and by that thread's own clock,
    and the shortest time of each counts.
    """
    ways = {(p, last): Machine(device, p, last) for p in PRECISIONS for last in (True, False)}
    with Machine(device).use():
        seconds = _shortest({way: _step(machine) for way, machine in ways.items()}, device)
    precision, channels_last = fastest(seconds)
    gain = seconds["fp32", False] / seconds[precision, channels_last]
    info(
        f"{precision}, {'channels last' if channels_last else 'channels first'}: {gain:.1f} times plain fp32 on this machine"
    )
    return {"precision": precision, "channels_last": channels_last, **_rounded(seconds)}


def fastest(seconds: Mapping[ComputeFormat, float]) -> ComputeFormat:
    """bf16 and channels first where they are faster by a clear margin, else fp32 and channels last.

    Units for bf16 make a step 2 to 3 times as fast; without them it takes 3 to 15 times as long. A real network gains more
    from channels last than two convolutions do.
    """
    best = {p: min(seconds[p, True], seconds[p, False]) for p in PRECISIONS}
    precision: Precision = "bf16" if best["bf16"] * BF16_GAIN < best["fp32"] else "fp32"
    return precision, seconds[precision, False] * FIRST_GAIN >= seconds[precision, True]


def _shortest(steps: Mapping[ComputeFormat, Callable[[], None]], device: str) -> dict[ComputeFormat, float]:
    """The shortest of some times of each step, taken by turns."""
    turns = [[_timed(step, device) for step in steps.values()] for _ in range(REPEATS)]
    return {way: min(times) for way, times in zip(steps, zip(*turns))}


def _rounded(seconds: Mapping[ComputeFormat, float]) -> dict[str, float]:
    return {f"{p} {'last' if last else 'first'} seconds": round(s, 5) for (p, last), s in seconds.items()}


def _step(machine: Machine) -> Callable[[], None]:
    """A forward and backward pass of two convolutions."""
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Conv2d(32, 64, 3, 1, 1), nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 64, 3, 1, 1))
    machine.to_device(net)
    x = torch.rand(8, 32, 16, 16, generator=generator).to(machine.device).to(memory_format=machine.memory_format)

    def step() -> None:
        with machine.autocast():
            net(x).float().square().mean().backward()

    return step


def _timed(step: Callable[[], None], device: str) -> float:
    """Seconds: on a CPU those of the thread itself, so that waiting for a core does not count."""
    clock = time.thread_time if device == "cpu" else time.perf_counter
    _wait_for(device)
    begin = clock()
    step()
    _wait_for(device)
    return clock() - begin


def _wait_for(device: str) -> None:
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def _processor() -> str:
    """A digest of what the processor can do, and of what torch is told to use of it: a host's name may move to another."""
    about = Path("/proc/cpuinfo")
    lines = (
        re.findall(r"^(?:model name|flags|Features)\s*:.*$", about.read_text(), re.MULTILINE) if about.exists() else []
    )
    told = [os.environ.get(name, "") for name in ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")]
    return digest(" ".join([*sorted(set(lines)), *told]))
