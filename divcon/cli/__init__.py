"""The command line: a file a verb. Each says in words what the Python verb of the same name gives."""

import contextlib
import difflib
import sys
import traceback
from collections.abc import Callable

import typer

from .. import __version__, faults
from ..artifacts import UNWRITABLE
from ..errors import DiskError, Error, ResourceError, UsageError, no_memory
from . import demo, embed, eval, index, lists, look, redo, run, status
from .screen import safe, screen

app = typer.Typer(
    name="divcon", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Divide and Contrast: one good image encoder from images nobody curated. Options are typed key=value; "
    "--debug, anywhere, shows tracebacks.",
)  # fmt: skip
VERBS: tuple[Callable[..., None], ...] = (
    index.index, look.look, run.run, status.status, redo.redo, eval.eval, embed.embed,
    lists.recipes, lists.methods, lists.encoders, demo.demo,
)  # fmt: skip
for verb in VERBS:
    app.command()(verb)


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
    try:
        _fault_asked()
        with screen():
            app()
    except SystemExit as end:  # typer's own: 2 is for what was typed wrongly, 1 for a second Ctrl-C
        if faults.missed():
            typer.echo(f"divcon: {faults.missed()}", err=True)
        sys.exit({2: 64, 1: 130}.get(end.code if isinstance(end.code, int) else 0, end.code))
    except (Error, MemoryError, OSError) as error:
        if debug:
            traceback.print_exc()
        known = _in_our_words(error)
        with contextlib.suppress(OSError):  # the code says it too
            typer.echo(safe(f"divcon: {known}"), err=True)
        sys.exit(known.code)


def _fault_asked() -> None:
    """DIVCON_FAULT: name the places to die at, or check the one that is named."""
    name, _ = faults.asked()
    if name == "list":
        typer.echo(faults.told())
        sys.exit(0)
    if name and name not in faults.POINTS:
        near = difflib.get_close_matches(name, faults.POINTS, 1)
        hint = f"did you mean {near[0]}?" if near else f"{faults.VARIABLE}=list names all there are"
        raise UsageError(f"{faults.VARIABLE}={name}: there is no such place; {hint}")


def _in_our_words(error: Error | MemoryError | OSError) -> Error:
    """What the system says, with an exit code and a way on."""
    if isinstance(error, Error):
        return error
    if isinstance(error, MemoryError):
        return no_memory(error)
    if error.errno in UNWRITABLE:
        return DiskError(f"{error.filename}: {error.strerror}; make room, or name another folder (out=, cache=)")
    return ResourceError(f"{error.filename or ''}: {error.strerror or error}; --debug shows where")
