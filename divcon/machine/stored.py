"""Measurements of a machine that are stored in the cache, so that each is made once."""

import os
import platform
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ..errors import DamagedError
from ..files.caches import skip_if_unwritable
from ..files.integrity import digest, read_json, write_json
from ..log import warning

V = TypeVar("V")


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


def _processor() -> str:
    """A digest of the processor's model and instruction sets, and of torch's limits on them.

    The host's name alone would not do: it may move to another processor.
    """
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    lines = re.findall(r"^(?:model name|flags|Features)\s*:.*$", text, re.MULTILINE)
    limits = [os.environ.get(name, "") for name in ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")]
    return digest(" ".join([*sorted(set(lines)), *limits]))
