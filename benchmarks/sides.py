"""A competitor in a process of its own, which waits for its turn: nobody inherits another's threads or memory settings."""

import contextlib
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Self

SPAWN = multiprocessing.get_context("spawn")


class Side:
    """An object that `make(*given)` builds over there, and whose methods are called from here."""

    def __init__(self, make: Callable[..., Any], *given: Any):
        self.line, theirs = SPAWN.Pipe()
        self.process = SPAWN.Process(target=_serve, args=(theirs, make, given))
        self.process.start()
        theirs.close()  # so that its end is noticed here
        self._answer()

    def __enter__(self) -> Self:
        return self

    def ask(self, method: str) -> Any:
        self.line.send(method)
        return self._answer()

    def _answer(self) -> Any:
        try:
            return self.line.recv()
        except EOFError:
            raise RuntimeError("the other side has ended; what it said is above") from None

    def __exit__(self, *_: object) -> None:
        self.line.close()
        self.process.join()


def _serve(line: Connection, make: Callable[..., Any], given: tuple[Any, ...]) -> None:
    """Do as asked until nobody can ask any more."""
    made = make(*given)
    line.send("made")
    with contextlib.suppress(EOFError), contextlib.closing(made):
        while True:
            line.send(getattr(made, line.recv())())
