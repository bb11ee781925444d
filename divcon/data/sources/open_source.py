"""Finding the kind of source that the named paths are."""

from collections.abc import Callable, Sequence
from pathlib import Path

from .folder import open_folder
from .source import Source
from .tar_shards import open_tar_shards

# Returns the source, or None where the paths are for another kind; an Error where they are of this kind and can't be opened.
Opener = Callable[[Sequence[Path]], Source | None]

# In the order in which they are tried. The folder is last: it refuses what no other kind has opened.
OPENERS: list[Opener] = [open_tar_shards, open_folder]


def open_source(data: Sequence[Path]) -> Source:
    """Return the source of images that the paths name; InputError or UsageError says why there is none."""
    return next(source for opener in OPENERS if (source := opener(data)) is not None)
