"""The machine of a result: the kind of processor and the versions that matter, and no host name."""

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

LIBRARIES = (
    "divcon", "torch", "torchvision", "timm", "numpy", "numba", "pillow", "simplejpeg", "lightly", "albumentations",
    "faiss-cpu", "scikit-learn",
)  # fmt: skip
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")
LOAD = os.getloadavg()  # before a bench has made its own
ZEN = {23: "zen", 25: "zen3", 26: "zen5"}  # by AMD's family number; some of 25 are Zen 4


def machine() -> dict[str, Any]:
    """The machine in words and numbers, as it is found when a bench begins."""
    return {
        "cpu": _said("model name") or platform.processor() or platform.machine(), "kind": kind(), "cores": cores(),
        "flags": [flag for flag in FLAGS if flag in flags()], "memory_gb": _memory_gb(),
        "os": f"{platform.system()} {platform.release()}", "python": platform.python_version(),
        "versions": {name: version for name in LIBRARIES if (version := _version(name))},
        "load_at_start": [round(load, 2) for load in LOAD], "commit": _commit(),
    }  # fmt: skip


def short_name() -> str:
    """The kind of processor and its cores, as in "amd-epyc-zen5-2c"."""
    return f"{kind()}-{cores()}c"


def kind() -> str:
    """The maker's name of the processor, and for AMD the generation, which the name of a virtual one leaves out."""
    words = re.sub(r"\(.*?\)|@.*|\d+-Core|CPU|Processor", "", _said("model name") or platform.machine())
    return "-".join([*re.findall(r"[a-z0-9]+", words.lower()), *_generation()])


def _generation() -> list[str]:
    if _said("vendor_id") != "AuthenticAMD":
        return []
    zen = ZEN.get(int(_said("cpu family") or 0), "")
    newer = zen == "zen3" and "avx512f" in flags()
    return ["zen4"] if newer else [zen] if zen else []


def flags() -> set[str]:
    return set((_said("flags") or _said("Features")).split())


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _said(field: str) -> str:
    """A line about the first processor, as Linux has it; "" elsewhere."""
    path = Path("/proc/cpuinfo")
    found = re.search(rf"^{field}\s*:\s*(.*)$", path.read_text() if path.exists() else "", re.MULTILINE)
    return found[1].strip() if found else ""


def _memory_gb() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str:
    """The commit that was measured, and whether files differed from it; "" outside a clone."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    return said.stdout.strip()
