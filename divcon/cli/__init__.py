"""The command line: a file for each verb, which has the name of its function in divcon/api."""

import contextlib
import difflib
import functools
import importlib
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable
from typing import Any

import typer

from .. import __version__, failpoints
from ..errors import (
    DiskError,
    Error,
    FaultError,
    InputError,
    InterruptError,
    ResourceError,
    StoppedError,
    UsageError,
    out_of_memory,
)
from ..files.disk_errors import FULL, UNWRITABLE
from ..files.text import printable_lines
from .terminal import open_streams, show_log

app = typer.Typer(
    name="divcon",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Divide and Contrast: one good image encoder from images nobody curated. Options are typed key=value; "
    "--debug, anywhere, shows tracebacks.",
)
NO_MEMORY = re.compile("allocate memory|failed to map segment", re.IGNORECASE)  # as the loader of libraries says it


def verbs() -> dict[str, Callable[..., None]]:
    """The verbs by name: the function NAME of each file NAME.py of this folder that has one."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    names = {module.__name__.rpartition(".")[2]: module for module in modules}
    return {name: getattr(module, name) for name, module in sorted(names.items()) if hasattr(module, name)}


def _worded(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb, with an error for Ctrl-C: typer has no words for it."""

    @functools.wraps(verb)
    def called(**words: Any) -> None:
        try:
            verb(**words)
        except KeyboardInterrupt as interrupt:
            if not str(interrupt):  # nothing of ours was at work
                raise
            error = StoppedError(str(interrupt))
            error.code = InterruptError.code
            raise error from interrupt

    return called


for verb in verbs().values():
    app.command()(_worded(verb))


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"divcon {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Say the version."),
) -> None:
    pass


def main() -> None:
    """Run the command line, and end with one of the exit codes of divcon.errors."""
    debug = "--debug" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--debug"]
    open_streams()
    try:
        _fault_asked()
        with show_log():
            app()
    except SystemExit as end:  # typer's own: 2 is for what was typed wrongly, 1 for a second Ctrl-C
        if failpoints.unreached():
            typer.echo(f"divcon: {failpoints.unreached()}", err=True)
        sys.exit({2: 64, 1: 130}.get(end.code if isinstance(end.code, int) else 0, end.code))
    except Exception as error:
        if debug:
            traceback.print_exc()
        known = _in_our_words(error)
        with contextlib.suppress(OSError):  # the code says it too
            typer.echo(printable_lines(f"divcon: {known}"), err=True)
        sys.exit(known.code)


def _fault_asked() -> None:
    """DIVCON_FAULT: name the places to die at, or check the one that is named."""
    name, count = failpoints.requested()
    if name == "list":
        typer.echo(failpoints.describe_points())
        sys.exit(0)
    if name and name not in failpoints.POINTS:
        near = difflib.get_close_matches(name, failpoints.POINTS, 1)
        hint = f"did you mean {near[0]}?" if near else f"{failpoints.VARIABLE}=list names all there are"
        raise UsageError(f"{failpoints.VARIABLE}={name}: there is no such place; {hint}")
    if count < 1:
        raise UsageError(f"{failpoints.VARIABLE}={name}: behind the colon stands at which passing, 1 or more")


def _in_our_words(error: Exception) -> Error:
    """What the system says, with an exit code and a way on."""
    if isinstance(error, Error):
        return error
    if isinstance(error, MemoryError) or (NO_MEMORY.search(str(error)) and isinstance(error, ImportError | OSError)):
        return out_of_memory(error)
    if not isinstance(error, OSError):
        return FaultError(
            f"this is a mistake in divcon, not in what was typed: {type(error).__name__}: {error}. Nothing that was finished is "
            "lost; type it again with --debug, and report what that shows"
        )
    what = f"{error.filename or 'the output'}: {error.strerror or error}"
    if error.errno in FULL:
        return DiskError(f"{what}; make room, or name another folder (out=, cache=)")
    if error.errno in UNWRITABLE:
        return InputError(f"{what}; look at it with `ls -ld`, or name another")
    return ResourceError(f"{what}; --debug shows where")
