"""The device, precision, memory format and threads of a run, chosen by a short measurement that is stored in the cache.

Results are bit-identical at equal precision, memory format and compute threads. So these are chosen once for a run, and stored
in run.json.
"""

from .choice import AutoBool, available_cores, check_device, choose, default_workers
from .measurement import ComputeFormat, fastest
from .settings import OUT_OF_MEMORY, PRECISIONS, Machine, Precision
from .stored import machine_name, measured_once

__all__ = [
    "OUT_OF_MEMORY",
    "PRECISIONS",
    "AutoBool",
    "ComputeFormat",
    "Machine",
    "Precision",
    "available_cores",
    "check_device",
    "choose",
    "default_workers",
    "fastest",
    "machine_name",
    "measured_once",
]
