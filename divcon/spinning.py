"""A limit on the time that threads of OpenMP spin while they wait for each other (settings of GNU's libgomp).

After each operation the threads of torch wait for each other in a loop, by default for many milliseconds. Beside another process
such a loop takes the core that the awaited thread needs. docs/decisions/spinning.md has the measurements.
"""

import os
import sys
from collections.abc import Collection, MutableMapping

SPIN_COUNT = "10000"  # turns of the loop, about half a millisecond; libgomp's own default is 300,000
# each of these says how threads wait, to GNU's, LLVM's or Intel's OpenMP
WAIT_SETTINGS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")


def limit_spinning(
    environment: MutableMapping[str, str] = os.environ, loaded: Collection[str] = sys.modules.keys()
) -> None:
    """Set the limit in the environment, from which torch's libgomp reads it when torch is loaded.

    Do nothing if torch is loaded already (it would be too late), or if the user has made a setting. No bit of a result changes.
    """
    if "torch" not in loaded and not any(name in environment for name in WAIT_SETTINGS):
        environment["GOMP_SPINCOUNT"] = SPIN_COUNT
