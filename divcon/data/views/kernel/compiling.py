"""How the kernel is compiled, once for all processes, and the words that its files share.

numba looks at the file of the function called, and at no other, to see whether what it compiled before is out of date.
So compiled code is kept in a folder named after the contents of all of the kernel's files.

Constants are float32 by hand: a bare 0.5 would make a float64 of all it touches. Every loop over pixels is a function
of its own: LLVM makes vectors of it there, and at times not once it lies inside another loop. Indices into what is
long are unsigned, so that none has to be asked whether it counts from the end.
"""

import atexit
import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba
import numpy as np
from numba.core.caching import IndexDataCacheFile
from numpy.typing import NDArray

from ....errors import DamagedError, InputError
from ....files.caches import cache_folder
from ....files.integrity import append_digest, read_with_digest
from ....log import warning

P = ParamSpec("P")
R = TypeVar("R")

ZERO, HALF, ONE, TWO, THREE, FOUR, SIX = (np.float32(x) for x in (0, 0.5, 1, 2, 3, 4, 6))
BYTE = np.float32(255)

Bytes = NDArray[np.uint8]
Shorts = NDArray[np.int16]
Floats = NDArray[np.float32]


def compiled_folder() -> str:
    """Where compiled code is kept: a folder of this user alone, if need be one that goes when this process goes."""
    try:
        folder = Path(os.environ.get("NUMBA_CACHE_DIR") or cache_folder() / "numba") / contents(Path(__file__).parent)
        folder.mkdir(0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        if is_private(folder):
            return str(folder)
    except (OSError, InputError):  # the verb that needs a cache says what is wrong with it
        pass
    own = tempfile.mkdtemp(prefix="divcon-numba-")
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return own


def is_private(folder: Path) -> bool:
    """Whether nobody else has put anything there, or can: numba unpickles what it finds, and runs it."""
    if any(path.lstat().st_uid != os.geteuid() for path in (folder, *folder.iterdir())):
        return False
    folder.chmod(0o700)
    return True


def contents(folder: Path) -> str:
    """What all of a folder's modules say, in a word."""
    texts = [f"{file.name} {file.read_text()}" for file in sorted(folder.glob("*.py"))]
    return hashlib.blake2b("\0".join(texts).encode(), digest_size=8).hexdigest()


FOLDER = compiled_folder()


class Ended(IndexDataCacheFile):
    """numba's files, each with its SHA-256 behind it: numba itself would carry out what a flipped bit has made of them.
    What differs is compiled again."""

    def _load_index(self) -> Any:
        theirs: Any = super()._load_index
        return theirs() if is_as_written(Path(self._index_path)) else {}

    def _load_data(self, name: str) -> Any:
        theirs: Any = super()._load_data
        if not is_as_written(Path(self._cache_path, name)):
            raise FileNotFoundError(name)  # numba then makes it anew
        return theirs(name)

    @contextlib.contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[Any]:
        with super()._open_for_write(filepath) as file:
            yield file
            file.flush()
            append_digest(Path(file.name))


def is_as_written(path: Path) -> bool:
    """Whether a file that is there has not changed since; else it is said how."""
    try:
        read_with_digest(path)
    except FileNotFoundError:
        return True
    except DamagedError as error:
        warning(f"{error}. It is compiled again")
        return False
    return True


def compiled(function: Callable[P, R], **how: Any) -> Callable[P, R]:
    """Compiled, without the GIL, and kept for other processes."""
    settings = vars(numba.config)
    hosts = settings["CACHE_DIR"]  # numba asks for it now, and not again
    settings["CACHE_DIR"] = FOLDER
    try:
        made: Any = numba.njit(nogil=True, cache=True, error_model="numpy", **how)(function)
    finally:
        settings["CACHE_DIR"] = hosts
    files = getattr(getattr(made, "_cache", None), "_cache_file", None)
    if isinstance(files, IndexDataCacheFile):  # none with NUMBA_DISABLE_JIT
        files.__class__ = Ended
    return cast(Callable[P, R], made)


def part(function: Callable[P, R]) -> Callable[P, R]:
    """Compiled into what calls it, and kept with that."""
    made: Callable[P, R] = numba.njit(nogil=True, error_model="numpy")(function)
    return made


@part
def clip(x: np.float32) -> np.float32:
    return min(max(x, ZERO), ONE)


@part
def aligned(n: int) -> Floats:
    """Room for n numbers, from the beginning of a cache line on."""
    room = np.empty(n + 16, np.float32)
    skip = (-room.ctypes.data % 64) // 4
    return room[skip : skip + n]
