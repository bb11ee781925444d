"""Global settings and random generators of the host program: set aside while a verb runs, and restored afterwards.

A notebook or another library may have changed settings of torch, NumPy and Pillow, for the process or for a block around our
call. They must not change our results, and ours must not change theirs: the host's next random number is the same as without
our call.
"""

import contextlib
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

PIXELS = 89_478_485  # Pillow's default limit
_pillow_lock, _pillow_uses, _pillow_before = threading.Lock(), 0, (PIXELS, False)
_alone = threading.RLock()  # settings of the process can only be restored in order: one verb at a time


def _new_locks() -> None:
    """Replace the locks after a fork: the child has no other threads that could release them."""
    global _alone, _pillow_lock
    _alone, _pillow_lock = threading.RLock(), threading.Lock()


os.register_at_fork(after_in_child=_new_locks)


@contextlib.contextmanager
def set_aside() -> Iterator[None]:
    """Replace the host's settings by the library's while the block runs; another thread that enters waits."""
    with _alone, contextlib.ExitStack() as stack:
        stack.enter_context(_generators())
        stack.enter_context(_numpy_defaults())
        stack.enter_context(pillow_defaults())
        stack.enter_context(_torch_defaults())
        yield


@contextlib.contextmanager
def _torch_defaults() -> Iterator[None]:
    """Run the block with gradients, without autocast, in float32 on the CPU; do nothing if torch is not imported."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "inference_mode"):
        yield
        return
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        _leave_autocast(torch, stack)
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for setting in _process_settings(torch):
            setting.enter(stack)
        yield


def _leave_autocast(torch: ModuleType, stack: contextlib.ExitStack) -> None:
    """Set the nesting depth of autocast to zero until the stack closes.

    torch clears its cache of cast weights at the end of the outermost autocast only: inside the host's one, our later steps
    would use the cast weights of the first step.
    """
    depth = torch.autocast_increment_nesting()
    for _ in range(depth):
        torch.autocast_decrement_nesting()
    for _ in range(depth - 1):
        stack.callback(torch.autocast_increment_nesting)
    stack.callback(torch.clear_autocast_cache)
    torch.clear_autocast_cache()


class Setting(NamedTuple):
    """A setting of the whole process: how to read and write it, and its accepted values, the preferred one first."""

    read: Callable[[], object]
    write: Callable[[Any], object]
    accepted: tuple[object, ...]

    def enter(self, stack: contextlib.ExitStack) -> None:
        """Set the preferred value until the stack closes, unless the current value is accepted."""
        with contextlib.suppress(RuntimeError):  # torch refuses to read one precision if several are set
            if (now := self.read()) not in self.accepted:
                stack.callback(self.write, now)
                self.write(self.accepted[0])


def _process_settings(torch: ModuleType) -> list[Setting]:
    backends = torch.backends
    float32 = [_attribute(owner, "fp32_precision", "none", "ieee") for owner in _precision_owners(backends)]
    return [
        Setting(torch.get_default_dtype, torch.set_default_dtype, (torch.float32,)),
        Setting(torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode, (0,)),
        *(_autocast(torch, device) for device in ("cpu", "cuda")),
        Setting(torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled, (True,)),
        Setting(torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly, (False,)),
        Setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, ("highest",)),
        *float32,
        _attribute(backends.cudnn, "enabled", True),
        _attribute(backends.cudnn, "benchmark", False),
        _attribute(backends.cudnn, "deterministic", False),
        _attribute(backends.mkldnn, "enabled", True),
    ]


def _autocast(torch: ModuleType, device: str) -> Setting:
    return Setting(
        lambda: torch.is_autocast_enabled(device), lambda value: torch.set_autocast_enabled(device, value), (False,)
    )


def _precision_owners(backends: ModuleType) -> list[object]:
    """The parts of torch.backends with a float32 precision of their own, in a recent torch; the general ones first."""
    owners = [backends, backends.mkldnn, backends.cuda.matmul]
    owners += [getattr(backends.mkldnn, name, None) for name in ("conv", "matmul", "rnn")]
    return [owner for owner in owners if hasattr(owner, "fp32_precision")]


def _attribute(owner: object, name: str, *accepted: object) -> Setting:
    return Setting(lambda: getattr(owner, name), lambda value: setattr(owner, name, value), accepted)


@contextlib.contextmanager
def _generators() -> Iterator[None]:
    """Restore the global generators of Python, NumPy and torch after the block."""
    import numpy as np

    python, numpy, restore_torch = random.getstate(), np.random.get_state(), _torch_generators()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        restore_torch()


def _torch_generators() -> Callable[[], None]:
    """Return a function that restores torch's generators; if torch is imported only later, it seeds them as torch does."""
    torch = sys.modules.get("torch")
    state = torch.get_rng_state() if torch is not None and hasattr(torch, "get_rng_state") else None
    on_gpu = (
        torch.cuda.get_rng_state_all()
        if torch is not None and state is not None and torch.cuda.is_initialized()
        else None
    )

    def restore() -> None:
        torch = sys.modules.get("torch")
        if torch is None or not hasattr(torch, "get_rng_state"):
            return
        if state is None:
            torch.seed()
            return
        torch.set_rng_state(state)
        if on_gpu is not None:
            torch.cuda.set_rng_state_all(on_gpu)
        else:  # a GPU that was not used yet starts from the seed that was set last, and that was ours
            torch.cuda.manual_seed_all(torch.initial_seed())

    return restore


@contextlib.contextmanager
def _numpy_defaults() -> Iterator[None]:
    import numpy as np

    with np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"):
        yield


@contextlib.contextmanager
def pillow_defaults() -> Iterator[None]:
    """Run the block with Pillow's defaults: truncated images are errors, and its pixel limit is higher than divcon's.

    Several threads may be inside: the first sets the defaults, the last restores the host's values.
    """
    from PIL import Image, ImageFile

    global _pillow_uses, _pillow_before
    with _pillow_lock:
        if _pillow_uses == 0:
            _pillow_before = Image.MAX_IMAGE_PIXELS or 0, ImageFile.LOAD_TRUNCATED_IMAGES
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = PIXELS, False
        _pillow_uses += 1
    try:
        yield
    finally:
        with _pillow_lock:
            _pillow_uses -= 1
            if _pillow_uses == 0:
                Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = _pillow_before[0] or None, _pillow_before[1]
