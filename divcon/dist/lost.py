"""The error of a rank whose peers are gone."""

from collections.abc import Callable
from typing import TypeVar

from ..errors import LostError

T = TypeVar("T")
AGAIN = "type the same command again to go on from what is saved"


def lost_otherwise(communicate: Callable[[], T]) -> T:
    """Do it. LostError, if a rank does not answer, or the store is gone: with it the rank, or the launcher, that held it.

    torch raises a plain RuntimeError for a closed connection.
    """
    try:
        return communicate()
    except RuntimeError as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise LostError(f"another rank is gone ({why[:160]}); {AGAIN}") from error
