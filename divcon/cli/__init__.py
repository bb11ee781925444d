"""The command line: the function NAME of each file divcon/cli/NAME.py is the verb NAME."""

import contextlib
import difflib
import functools
import importlib
import pkgutil
import sys
import traceback
from collections.abc import Callable

import typer

from .. import __version__, failpoints
from ..errors import InterruptError, LostError, StoppedError, UsageError, was_told
from ..files.text import printable_lines
from ..known_errors import known_error
from ..ranks import end_with_launcher, place
from .terminal import show_log


def verbs() -> dict[str, Callable[..., None]]:
    """Return the verbs by name: the function NAME of each file NAME.py in this folder that has one."""
    modules = {name: importlib.import_module(f"{__name__}.{name}") for _, name, _ in pkgutil.iter_modules(__path__)}
    return {name: getattr(module, name) for name, module in sorted(modules.items()) if hasattr(module, name)}


def command_line() -> typer.Typer:
    """Return the command line with all verbs."""
    app = typer.Typer(
        name="divcon",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help="Divide and Contrast: one good image encoder from images nobody curated. Options are typed key=value; "
        "--debug, anywhere, shows tracebacks.",
    )
    app.callback()(_version_option)
    for verb in verbs().values():
        app.command()(_with_interrupt_error(verb))
    return app


def _version_option(
    version: bool = typer.Option(
        False,
        "--version",
        callback=lambda asked: _print_version() if asked else None,
        is_eager=True,
        help="Show the version.",
    ),
) -> None:
    pass


def _print_version() -> None:
    typer.echo(f"divcon {__version__}")
    raise typer.Exit


def _with_interrupt_error(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb, which raises an Error with exit code 130 for a second Ctrl-C: typer would drop its message."""

    @functools.wraps(verb)
    def wrapped(**arguments: object) -> None:
        try:
            verb(**arguments)
        except KeyboardInterrupt as interrupt:
            if not str(interrupt):  # not raised by divcon.signals
                raise
            error = StoppedError(str(interrupt))
            error.code = InterruptError.code
            raise error from interrupt

    return wrapped


def main() -> None:
    """Run the command line, and exit with one of the codes of divcon.errors."""
    debug = "--debug" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--debug"]
    end_with_launcher()
    try:
        _check_failpoint()
        with show_log():
            command_line()()
    except SystemExit as end:  # of typer: 2 is a usage error, 1 is Ctrl-C
        if failpoints.unreached():
            typer.echo(f"divcon: {failpoints.unreached()}", err=True)
        sys.exit(
            {2: UsageError.code, 1: InterruptError.code}.get(end.code if isinstance(end.code, int) else 0, end.code)
        )
    except Exception as error:
        if debug:
            traceback.print_exc()
        known = known_error(error)
        if _is_told_by_another(error):
            sys.exit(known.code)
        with contextlib.suppress(OSError):  # stderr may be full; the exit code is enough
            typer.echo(printable_lines(f"divcon: {known}"), err=True)
        sys.exit(known.code)


def _is_told_by_another(error: Exception) -> bool:
    """True on a rank whose error another rank tells, on this host. That ranks of another host are gone, one rank of each host tells."""
    at = place()
    return at is not None and was_told(error) and not (at.speaks and isinstance(error, LostError))


def _check_failpoint() -> None:
    """DIVCON_FAULT=list prints the failpoints and exits; an unknown name, or a wrong count, is a UsageError."""
    name, count = failpoints.requested()
    if name == "list":
        typer.echo(failpoints.describe_points())
        sys.exit(0)
    if name and name not in failpoints.POINTS:
        similar = difflib.get_close_matches(name, failpoints.POINTS, 1)
        hint = f"did you mean {similar[0]}?" if similar else f"{failpoints.VARIABLE}=list names all there are"
        raise UsageError(f"{failpoints.VARIABLE}={name}: there is no such place; {hint}")
    if count < 1:
        raise UsageError(f"{failpoints.VARIABLE}={name}: the number after the colon says at which visit, 1 or more")
