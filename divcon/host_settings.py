"""Settings that a host program has made for all of its process, or for a block around our call. While one of our verbs
runs they are as we need them, and afterwards as they were. The same goes for random generators: the host's next draw is the
one it would have been."""

import contextlib
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

PIXELS = 89_478_485  # Pillow's own limit
_pillow_lock, _pillow_uses, _pillow_before = threading.Lock(), 0, (PIXELS, False)
_alone = threading.RLock()  # settings of a process can't be given back in any order: one verb at a time


def _begin_alone() -> None:
    """In a process that was forked, no thread is at work."""
    global _alone, _pillow_lock
    _alone, _pillow_lock = threading.RLock(), threading.Lock()


os.register_at_fork(after_in_child=_begin_alone)


@contextlib.contextmanager
def set_aside() -> Iterator[None]:
    """Settings as we need them within, and as the host has them afterwards, also after an error. Another thread of the host
    that comes here meanwhile waits."""
    with _alone, contextlib.ExitStack() as stack:
        stack.enter_context(_generators())
        stack.enter_context(_numpy())
        stack.enter_context(pillow_defaults())
        stack.enter_context(torch_defaults())
        yield


@contextlib.contextmanager
def torch_defaults() -> Iterator[None]:
    """Gradients, no autocast, float32 on the CPU, the algorithms that torch has by itself; where torch is loaded."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "inference_mode"):
        yield
        return
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        _leave_autocast(torch, stack)
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for setting in _globals(torch):
            setting.enter(stack)
        yield


def _leave_autocast(torch: Any, stack: contextlib.ExitStack) -> None:
    """As if there were no autocast around us. Weights that were cast are forgotten where the outermost one ends: inside
    another one, ours would go on with those of the first step."""
    depth = torch.autocast_increment_nesting()
    for _ in range(depth):
        torch.autocast_decrement_nesting()
    for _ in range(depth - 1):
        stack.callback(torch.autocast_increment_nesting)
    stack.callback(torch.clear_autocast_cache)
    torch.clear_autocast_cache()


class Setting(NamedTuple):
    """Of the whole process: how it is read and written, and which values will do, the first of them best."""

    read: Callable[[], Any]
    write: Callable[[Any], Any]
    wanted: tuple[Any, ...]

    def enter(self, stack: contextlib.ExitStack) -> None:
        """Make it one that will do, until the stack is left."""
        with contextlib.suppress(RuntimeError):  # torch refuses to name one precision where several are set
            if (now := self.read()) not in self.wanted:
                stack.callback(self.write, now)
                self.write(self.wanted[0])


def _globals(torch: Any) -> list[Setting]:
    backends = torch.backends
    float32 = [_attribute(owner, "fp32_precision", "none", "ieee") for owner in _reckoning(backends)]
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


def _autocast(torch: Any, device: str) -> Setting:
    return Setting(
        lambda: torch.is_autocast_enabled(device), lambda value: torch.set_autocast_enabled(device, value), (False,)
    )


def _reckoning(backends: Any) -> list[Any]:
    """The parts of torch that have a precision of float32 of their own, in a torch that is new enough; the general ones first."""
    found = [backends, backends.mkldnn, backends.cuda.matmul]
    found += [getattr(backends.mkldnn, name, None) for name in ("conv", "matmul", "rnn")]
    return [owner for owner in found if hasattr(owner, "fp32_precision")]


def _attribute(owner: Any, name: str, *wanted: Any) -> Setting:
    return Setting(lambda: getattr(owner, name), lambda value: setattr(owner, name, value), wanted)


@contextlib.contextmanager
def _generators() -> Iterator[None]:
    """The global generators of Python, NumPy and torch, put back to where they were."""
    import numpy as np

    python, numpy, give_back = random.getstate(), np.random.get_state(), _torch_draws()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        give_back()


def _torch_draws() -> Callable[[], None]:
    """A function that puts torch's generators back; where torch came into the process meanwhile, to where nobody knows."""
    torch: Any = sys.modules.get("torch")
    state = torch.get_rng_state() if hasattr(torch, "get_rng_state") else None
    on_gpu = torch.cuda.get_rng_state_all() if state is not None and torch.cuda.is_initialized() else None

    def give_back() -> None:
        torch: Any = sys.modules.get("torch")
        if not hasattr(torch, "get_rng_state"):
            return
        if state is None:
            torch.seed()  # as it begins
            return
        torch.set_rng_state(state)
        if on_gpu is not None:
            torch.cuda.set_rng_state_all(on_gpu)
        else:  # a GPU that nobody has used yet begins with the seed that was set last, which was ours
            torch.cuda.manual_seed_all(torch.initial_seed())

    return give_back


@contextlib.contextmanager
def _numpy() -> Iterator[None]:
    import numpy as np

    with np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"):
        yield


@contextlib.contextmanager
def pillow_defaults() -> Iterator[None]:
    """Pillow as it comes: no half picture passes for a whole one, and its limit is above ours. Threads may be in here side by
    side: the first sets it, the last gives it back."""
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
