"""Variables of the environment that other libraries read once, when they begin."""

import contextlib
import os
from collections.abc import Iterator, Mapping


@contextlib.contextmanager
def default_environment(defaults: Mapping[str, str]) -> Iterator[None]:
    """Set the variables that the user has not set, while the block runs."""
    added = {name: value for name, value in defaults.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
