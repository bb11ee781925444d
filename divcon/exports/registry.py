"""Formats by name. A file of divcon/exports/formats defines one."""

import importlib
import importlib.metadata
import pkgutil
from typing import cast

from ..config import unknown_name
from ..errors import UsageError
from ..nets.trained import Trained
from .contract import Format


def format_names() -> list[str]:
    """Return the names of all formats."""
    package = importlib.import_module("divcon.exports.formats")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def format_named(name: str) -> Format:
    """Return the format that divcon/exports/formats/NAME.py defines. Raises UsageError where there is none."""
    if name not in format_names():
        raise UsageError(f"format={name}: {unknown_name('format', name, format_names())}")
    return cast(Format, importlib.import_module(f"divcon.exports.formats.{name}"))


def check_format(name: str, model: Trained) -> None:
    """Raise UsageError if the format can't hold the encoder, or if a package that it needs is not installed."""
    format = format_named(name)
    missing = [package for package in format.packages if not _is_installed(package)]
    if missing:
        raise UsageError(
            f"format={name} needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed: "
            "type pip install 'divcon[export]'"
        )
    why = format.misfit(model)
    if why:
        others = [other for other in format_names() if format_named(other).misfit(model) is None]
        raise UsageError(f"format={name}: {why}; {' or '.join(f'format={other}' for other in others)} would work")


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
