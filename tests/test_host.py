"""The host program: a notebook, a sweep, another library's training. Its settings change no bit of a run and are restored; its
random numbers are the same as without us; its numbers and paths are converted."""

import contextlib
import io
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY
from PIL import Image, ImageFile

import divcon
from divcon import host_settings, log
from divcon.errors import DataError, InputError, InterruptError, StoppedError, UsageError
from divcon.files.integrity import sha256
from divcon.signals import deferred_signals, stop_if_requested

STEPS = {**TINY, "recipe": "moclr", "epochs": 0.2}
for name in ("clusters.k", "clusters.smallest"):
    del STEPS[name]


def trained(photos: Path, out: Path, **options: Any) -> str:
    """The hash of the encoder that a run of two steps ends with."""
    divcon.run(photos, out=out, **{**STEPS, **options})
    return sha256(out / "base/encoder.safetensors")


@pytest.fixture(scope="module")
def usual(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return trained(photos, tmp_path_factory.mktemp("usual") / "run")


@contextlib.contextmanager
def assigned(write: Callable[[Any], Any], value: Any, before: Any) -> Iterator[None]:
    write(value)
    try:
        yield
    finally:
        write(before)


def attribute(owner: Any, name: str, value: Any) -> contextlib.AbstractContextManager[None]:
    return assigned(lambda new: setattr(owner, name, new), value, getattr(owner, name))


HOSTS: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "float64": lambda: assigned(torch.set_default_dtype, torch.float64, torch.float32),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "a default device": lambda: torch.device("meta"),
    "deterministic algorithms": lambda: assigned(torch.use_deterministic_algorithms, True, False),
    "products in bfloat16": lambda: assigned(torch.set_float32_matmul_precision, "medium", "highest"),
    "no oneDNN": lambda: attribute(torch.backends.mkldnn, "enabled", False),
    "NumPy that raises": lambda: np.errstate(all="raise"),
    "a small limit of Pillow's": lambda: attribute(Image, "MAX_IMAGE_PIXELS", 100),
    "half pictures": lambda: attribute(ImageFile, "LOAD_TRUNCATED_IMAGES", True),
    "seeds": lambda: assigned(seeded, 5, 6),
    "three threads": lambda: assigned(torch.set_num_threads, 3, torch.get_num_threads()),
}


def seeded(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def surroundings() -> list[Any]:
    """Return the settings of the process that can be read."""
    return [
        torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype(),
        torch.is_autocast_enabled("cpu"), torch.get_default_device(), torch.get_deterministic_debug_mode(),
        torch.get_float32_matmul_precision(), torch.backends.mkldnn.enabled, torch.get_num_threads(), np.geterr(),
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, random.getstate(), str(np.random.get_state()),
        torch.get_rng_state().tolist(), [signal.getsignal(number) for number in (2, 10, 15)],
    ]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_a_run_has_the_same_bits_whatever_the_host_has_set_and_leaves_it_so(
    photos: Path, tmp_path: Path, usual: str, host: str
) -> None:
    with HOSTS[host]():
        before = surroundings()
        found = trained(photos, tmp_path / "run")
        assert surroundings() == before
    assert found == usual


def test_weights_that_were_cast_are_not_used_again_after_a_step_inside_the_hosts_autocast() -> None:
    layer, x = torch.nn.Linear(4, 4), torch.ones(1, 4)

    def step() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return layer(x).float()

    with torch.autocast("cpu", torch.bfloat16), host_settings.set_aside():
        first = step()
        with torch.no_grad():
            layer.weight += 1
        assert (step() - first > 3).all()


def test_a_host_has_its_settings_back_after_an_error(photos: Path, tmp_path: Path) -> None:
    with torch.no_grad(), attribute(ImageFile, "LOAD_TRUNCATED_IMAGES", True):
        before = surroundings()
        with pytest.raises(UsageError):
            divcon.run(photos, out=tmp_path / "run", **STEPS, views="none such")
        with pytest.raises(UsageError):
            divcon.evaluate("random:slim10", photos, tasks="none such")
        assert surroundings() == before


@pytest.mark.parametrize("verb", ["load", "evaluate", "embed", "look", "lazily"])
def test_what_the_host_draws_next_is_what_it_would_have_drawn(
    photos: Path, tmp_path: Path, cache: Path, verb: str
) -> None:
    trained(photos, tmp_path / "run", epochs=0.1)
    verbs: dict[str, Callable[[], Any]] = {
        "load": lambda: divcon.load("random:slim10_w8"),
        "evaluate": lambda: divcon.evaluate("random:slim10_w8", photos, tasks="knn"),
        "embed": lambda: divcon.embed(tmp_path / "run", photos, out=tmp_path / "e.parquet"),
        "look": lambda: divcon.look(photos, sheet=tmp_path / "sheet.png"),
        "lazily": lambda: divcon.run(photos, out=tmp_path / "run", **{**STEPS, "epochs": 0.1}).model.net,
    }
    seeded(1)
    expected = random.random(), np.random.rand(), float(torch.rand(1))
    seeded(1)
    verbs[verb]()
    assert (random.random(), np.random.rand(), float(torch.rand(1))) == expected


def test_an_encoder_that_is_loaded_where_no_gradients_are_kept_can_be_trained() -> None:
    with torch.inference_mode():
        encoder = divcon.load("random:slim10_w8")
    encoder(torch.zeros(2, 3, 32, 32)).sum().backward()
    assert all(p.requires_grad and p.dtype == torch.float32 for p in encoder.parameters())


SAME = """
import logging, os, random, signal, sys, warnings, importlib, pkgutil
import jaxtyping, numba, numpy, pyarrow.parquet, PIL.Image, PIL.ImageFile, pydantic, safetensors.torch, simplejpeg, sklearn.base, timm, torch, typer

def state():
    return {
        "warnings": [str(each) for each in warnings.filters], "log": [*logging.getLogger().handlers, logging.root.level],
        "signals": [signal.getsignal(number) for number in (2, 10, 13, 15)], "environment": dict(os.environ),
        "draws": [str(numpy.random.get_state()), random.getstate(), torch.get_rng_state().tolist()],
        "torch": [torch.get_num_threads(), torch.get_default_dtype()], "folder": os.getcwd(), "path": list(sys.path),
        "numba": {name: value for name, value in vars(numba.config).items() if name.isupper()},
        "pillow": [PIL.Image.MAX_IMAGE_PIXELS, PIL.ImageFile.LOAD_TRUNCATED_IMAGES], "hook": sys.excepthook,
    }

before = state()
import divcon
for module in pkgutil.walk_packages(divcon.__path__, "divcon."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
after = state()
print(*(f"{name}: {value} became {after[name]}" for name, value in before.items() if after[name] != value))
"""


def test_to_import_all_of_it_changes_nothing_in_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", SAME], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


class Interrupting:
    """Send a signal to this process when a training has begun, as a user's Ctrl-C."""

    def __init__(self, number: int):
        self.number, self.pressed = number, False

    def __call__(self, tick: log.Progress) -> None:
        if not self.pressed and tick.what.startswith("base"):
            self.pressed = True
            os.kill(os.getpid(), self.number)


def test_ctrl_c_ends_a_sweep_that_goes_on_after_every_exception(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "watch", Interrupting(signal.SIGINT))
    begun = []
    with pytest.raises(KeyboardInterrupt, match="base is saved at step") as caught:
        for seed in range(2):
            begun.append(seed)
            try:
                trained(photos, tmp_path / f"run{seed}", seed=seed)
            except Exception:
                begun.append(-1)
    assert begun == [0] and isinstance(caught.value, InterruptError)
    assert list((tmp_path / "run0/base/checkpoints").glob("step-*"))
    assert divcon.status(tmp_path / "run0").stages["base"].state == "interrupted"


def test_sigterm_is_an_error_that_says_what_is_saved(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "watch", Interrupting(signal.SIGTERM))
    with pytest.raises(StoppedError, match="stopped by SIGTERM: base is saved"):
        trained(photos, tmp_path / "run")


def test_a_ctrl_c_that_comes_too_late_to_stop_anything_is_not_swallowed() -> None:
    with pytest.raises(KeyboardInterrupt), deferred_signals():
        os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_that_comes_after_sigterm_is_ctrl_c() -> None:
    with pytest.raises(KeyboardInterrupt, match="SIGINT"), deferred_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        stop_if_requested("all is saved")


def test_a_signal_that_the_host_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with deferred_signals():
            os.kill(os.getpid(), signal.SIGINT)
            stop_if_requested("all is saved")
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_numbers_of_numpy_and_torch_are_numbers(photos: Path, tmp_path: Path) -> None:
    plain: dict[str, Any] = {
        "seed": 1, "base.lr": 0.5, "epochs": 0.1, "mean": [0.5, 0.25, 0.5], "fast_small_maps": True, "save_every": 3,
    }  # fmt: skip
    theirs = {
        "seed": np.arange(3)[1], "base.lr": np.float32(0.5), "epochs": np.float64(0.1), "mean": np.array([0.5, 0.25, 0.5]),
        "fast_small_maps": np.bool_(True), "save_every": torch.tensor(3),
    }  # fmt: skip
    assert trained(photos, tmp_path / "plain", **plain) == trained(photos, tmp_path / "theirs", **theirs)
    again = divcon.run(photos, out=tmp_path / "theirs", **{**STEPS, **plain})
    assert again.did == []


def test_verbs_take_numbers_of_numpy_wherever_they_take_numbers(photos: Path, tmp_path: Path) -> None:
    scores = divcon.evaluate("random:slim10_w8", photos, tasks=("knn",), seed=np.int64(1), workers=np.int32(1))
    assert scores == divcon.evaluate("random:slim10_w8", photos, tasks="knn", seed=1)
    options = {**STEPS, "base.options.temperature": np.float32(0.25), "base.encoder.options": {}}
    assert divcon.run(photos, out=tmp_path / "run", **{**options, "base.options.dim": np.int16(16)}).done


@pytest.mark.parametrize("value", [object(), 1j, {1, 2}, np.datetime64("2026-01-01"), [None, b"bytes"]])
@pytest.mark.parametrize("name", ["seed", "base.encoder.options"])
def test_what_is_no_option_is_refused_by_its_name(photos: Path, tmp_path: Path, name: str, value: Any) -> None:
    given = {"x": value} if "." in name else value
    with pytest.raises(UsageError, match=f"{name}=.* is no kind of option"):
        divcon.run(photos, out=tmp_path / "run", **{**STEPS, name: given})
    assert not (tmp_path / "run").exists()


def test_a_host_that_lets_half_pictures_pass_does_not_get_them(tmp_path: Path, cache: Path) -> None:
    whole = tmp_path / "whole.png"
    Image.effect_noise((64, 64), 60).save(whole)
    (tmp_path / "pile").mkdir()
    (tmp_path / "pile/half.png").write_bytes(whole.read_bytes()[:2000])
    with attribute(ImageFile, "LOAD_TRUNCATED_IMAGES", True), pytest.raises(DataError, match="truncated"):
        divcon.look(tmp_path / "pile", cache=cache)


def test_two_verbs_in_two_threads_do_not_mix_their_random_numbers() -> None:
    """Each restores the generators at its end; a verb that ran at that moment would draw other numbers."""
    inside: list[str] = []

    def draws(name: str) -> list[float]:
        with host_settings.set_aside():
            torch.manual_seed(1)
            inside.append(name)
            found = [float(torch.rand(())) for _ in range(200)]
            inside.append(name)
        return found

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(draws, "abcd"))
    assert found == [found[0]] * 4
    assert [begin == end for begin, end in zip(inside[::2], inside[1::2])] == [True] * 4


def test_one_can_ask_how_a_run_goes_while_it_is_at_work_in_another_thread(photos: Path, tmp_path: Path) -> None:
    divcon.run(photos, out=tmp_path / "run", **STEPS)
    with ThreadPoolExecutor(1) as pool, host_settings.set_aside():
        assert pool.submit(divcon.status, tmp_path / "run").result(timeout=60).images == 160


@pytest.mark.parametrize("kind", ["GIF", "BMP"])
def test_a_host_that_takes_half_pictures_does_not_make_preprocess_take_them(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(file, kind)
    data, preprocess = file.getvalue(), divcon.load("random:slim10_w8").preprocess
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert preprocess(data).shape == (3, 32, 32)
    with pytest.raises(InputError, match=r"truncated|corrupt"):
        preprocess(data[: len(data) // 2])
    assert ImageFile.LOAD_TRUNCATED_IMAGES and Image.MAX_IMAGE_PIXELS == 1000
