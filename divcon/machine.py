"""The device, precision, memory format and threads of a run, chosen by a short measurement that is stored in the cache.

Results are bit-identical at equal precision, memory format and compute threads. So these are chosen once for a run, and stored
in run.json.
"""

import contextlib
import os
import platform
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict, TypeVar

from . import host_settings
from .allocator import keeping_memory
from .errors import DamagedError, UsageError, out_of_memory
from .files.caches import skip_if_unwritable
from .files.integrity import digest, read_json, write_json
from .log import info, warning
from .ranks import place

if TYPE_CHECKING:
    import torch

M = TypeVar("M", bound="torch.nn.Module")
V = TypeVar("V")
Precision = Literal["bf16", "fp32"]
AutoBool = bool | Literal["auto"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
ComputeFormat = tuple[Precision, bool]  # the precision, and True for channels last in memory
MIN_BF16_GAIN, MIN_CHANNELS_FIRST_GAIN = 1.5, 1.25  # times as fast as the default: less may be noise
MIN_BF16_GAIN_ON_GPU = 1.05
REPEATS = 7
# parts of the error messages of torch on a CPU, torch on a GPU, and oneDNN
OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "could not create a memory", "could not create a primitive")


class Measurement(TypedDict):
    """The fastest precision and memory format of a machine, and the seconds of a step in each."""

    precision: Precision
    channels_last: bool
    seconds: NotRequired[dict[str, float]]


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


def available_cores() -> int:
    """The number of cores this process may use, or OMP_NUM_THREADS if that is less (torchrun sets it)."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(own, int(limit)) if limit.isdigit() and int(limit) else own


def default_workers(device: str) -> int:
    """The threads that decode and make views; half of the cores stay free for what a GPU needs (docs/performance.md)."""
    return available_cores() if device == "cpu" else max(1, available_cores() // 2)


def choose(
    cache: Path,
    *,
    device: str = "auto",
    precision: Precision | Literal["auto"] = "auto",
    channels_last: AutoBool = "auto",
    fast_small_maps: bool = True,
    compiled: bool = False,
    workers: int | None = None,
    keep_memory: bool = True,
    ranks: int | Literal["auto"] | None = None,
    expert_ranks: int = 1,
) -> Machine:
    """Return a machine with these settings; "auto" takes the fastest by a measurement, which is stored in the cache folder.

    `ranks` None is one. Raises UsageError if the device, or torch.compile, can't be used.
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    check_device(device)
    if compiled:
        _check_compile(device)
    asked: Measurement | None = None if precision == "auto" else {"precision": precision, "channels_last": True}
    fastest_here = asked or _stored_measurement(cache, device)
    processes = ranks if isinstance(ranks, int) else 1
    each = available_cores() if place() else max(1, available_cores() // processes)
    return Machine(
        device,
        fastest_here["precision"],
        fastest_here["channels_last"] if channels_last == "auto" else channels_last,
        each,
        workers or default_workers(device),
        fast_small_maps,
        compiled,
        keep_memory,
        processes,
        min(expert_ranks, processes),
    )


def check_device(device: "str | torch.device", advice: str = "device=auto takes what there is") -> None:
    """Raise UsageError, with advice, for a device that can't be used."""
    import torch

    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"device={device} can't be used here: {reason[:120]}; {advice}") from None


def _check_compile(device: str) -> None:
    """Raise UsageError if torch.compile fails."""
    import torch

    try:
        torch.compile(torch.sin)(torch.zeros(8, device=device))
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"compiled=true: torch.compile fails here: {reason[:120]}; leave it out, or install a C++ compiler"
        ) from None


def _stored_measurement(cache: Path, device: str) -> Measurement:
    """The measurement of this machine in the cache; it is measured and stored if it is not there."""
    return measured_once(cache, "machine.json", machine_name(device), lambda: measure(device))


def measured_once(cache: Path, file: str, name: str, do: Callable[[], V]) -> V:
    """Return the measurement of this name in a file of the cache; it is measured and stored if it is not there."""
    measurements: dict[str, V] = _read_measurements(cache / file)
    if name not in measurements:
        measurements[name] = do()
        with skip_if_unwritable(cache):
            write_json(cache / file, measurements)
    return measurements[name]


def machine_name(device: str) -> str:
    """The name under which measurements of this machine are stored: they hold for this processor and this torch."""
    import torch

    return f"{platform.node()} {platform.machine()} {_processor()} {device} torch-{torch.__version__}"


def _read_measurements(path: Path) -> dict[str, Any]:
    try:
        measurements = read_json(path)
    except FileNotFoundError:
        return {}
    except (OSError, DamagedError) as error:
        warning(f"{error}. This machine is measured again")
        return {}
    return measurements if isinstance(measurements, dict) else {}


def measure(device: str) -> Measurement:
    """Measure the precision and memory format in which a small convolutional step is fastest on the device.

    Other work on the machine must not decide. So the formats are timed in turns, on one thread and by the clock of that
    thread, and the shortest time of each counts.
    """
    formats = {(p, last): Machine(device, p, last) for p in PRECISIONS for last in (True, False)}
    with Machine(device).use():
        seconds = _shortest({key: _step(machine) for key, machine in formats.items()}, device)
    precision, channels_last = fastest(seconds, device)
    gain = seconds["fp32", False] / seconds[precision, channels_last]
    info(
        f"{precision}, {'channels last' if channels_last else 'channels first'}: {gain:.1f} times plain fp32 on this machine"
    )
    return {"precision": precision, "channels_last": channels_last, "seconds": _rounded(seconds)}


def fastest(seconds: Mapping[ComputeFormat, float], device: str = "cpu") -> ComputeFormat:
    """Return bf16, or channels first, if it is faster by a clear margin; else fp32, or channels last.

    A processor with units for bf16 is 2 to 3 times as fast in it, one without them 3 to 15 times as slow. A real network
    gains more from channels last than the two convolutions that are measured, and on a GPU more from bf16 (H200: 1.27 here).
    """
    least = MIN_BF16_GAIN if device == "cpu" else MIN_BF16_GAIN_ON_GPU
    best = {p: min(seconds[p, True], seconds[p, False]) for p in PRECISIONS}
    precision: Precision = "bf16" if best["bf16"] * least < best["fp32"] else "fp32"
    return precision, seconds[precision, False] * MIN_CHANNELS_FIRST_GAIN >= seconds[precision, True]


def _shortest(steps: Mapping[ComputeFormat, Callable[[], None]], device: str) -> dict[ComputeFormat, float]:
    """The shortest of REPEATS times of each step; the steps take turns."""
    turns = [[_timed(step, device) for step in steps.values()] for _ in range(REPEATS)]
    return {key: min(times) for key, times in zip(steps, zip(*turns))}


def _rounded(seconds: Mapping[ComputeFormat, float]) -> dict[str, float]:
    return {f"{p} channels {'last' if last else 'first'}": round(s, 5) for (p, last), s in seconds.items()}


def _step(machine: Machine) -> Callable[[], None]:
    """Return a function that does a forward and backward pass of two convolutions.

    A GPU does the step of a CPU in less time than it takes to begin it, in any format, so it gets a larger one.
    """
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(0)
    batch, side, width = (8, 16, 64) if machine.device == "cpu" else (128, 56, 128)
    net = nn.Sequential(
        nn.Conv2d(width // 2, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, 1, 1)
    )
    machine.to_device(net)
    x = torch.rand(batch, width // 2, side, side, generator=generator).to(machine.device)
    x = x.to(memory_format=machine.memory_format)

    def step() -> None:
        with machine.autocast():
            net(x).float().square().mean().backward()

    return step


def _timed(step: Callable[[], None], device: str) -> float:
    """The seconds of a step; on a CPU of this thread alone, so that time without a core does not count."""
    clock = time.thread_time if device == "cpu" else time.perf_counter
    _synchronize(device)
    begin = clock()
    step()
    _synchronize(device)
    return clock() - begin


def _synchronize(device: str) -> None:
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def _processor() -> str:
    """A digest of the processor's model and instruction sets, and of torch's limits on them.

    The host's name alone would not do: it may move to another processor.
    """
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    lines = re.findall(r"^(?:model name|flags|Features)\s*:.*$", text, re.MULTILINE)
    limits = [os.environ.get(name, "") for name in ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")]
    return digest(" ".join([*sorted(set(lines)), *limits]))
