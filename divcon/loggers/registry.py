"""Loggers by name. A file of divcon/loggers defines one."""

import importlib
import importlib.util
import pkgutil
from collections.abc import Sequence
from typing import cast

from ..config import unknown_name
from ..errors import InputError, UsageError
from .contract import LoggerFile

NOT_LOGGERS = {"contract", "environment", "logged", "registry", "sent"}  # files of this room that define no logger


def logger_names() -> list[str]:
    """The names that `log=` takes."""
    package = importlib.import_module("divcon.loggers")
    return sorted({module.name for module in pkgutil.iter_modules(package.__path__)} - NOT_LOGGERS)


def logger_named(name: str) -> LoggerFile:
    """The module divcon/loggers/NAME.py. UsageError where there is none."""
    if name not in logger_names():
        raise UsageError(unknown_name("logger", name, logger_names()))
    return cast(LoggerFile, importlib.import_module(f"divcon.loggers.{name}"))


def missing_modules(name: str) -> list[str]:
    """The modules that a logger needs and that are not installed."""
    return [module for module in logger_named(name).needs if importlib.util.find_spec(module) is None]


def names_in(value: str | Sequence[str]) -> list[str]:
    """The names in the value of `log=`, each once. UsageError for an unknown one, InputError for one that is not installed."""
    names = list(dict.fromkeys(value.split(",") if isinstance(value, str) else value))
    for name in names:
        if missing := missing_modules(name):
            raise InputError(f"log={name} needs {', '.join(missing)}; type: pip install 'divcon[loggers]'")
    return names
