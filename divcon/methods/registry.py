"""Methods by name. A file of divcon/methods defines one."""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from typing import get_type_hints

from ..config import unknown_name, validate_value
from ..errors import UsageError
from .contract import Method
from .settings import Settings, SmallSettings

NOT_METHODS = {"contract", "momentum_method", "registry", "settings"}  # files of this room that define no method


def method_files() -> list[str]:
    """The names of all method files."""
    package = importlib.import_module("divcon.methods")
    return sorted({module.name for module in pkgutil.iter_modules(package.__path__)} - NOT_METHODS)


def method_names() -> list[str]:
    """The names that `method=` takes: the methods that learn from images alone."""
    return [name for name in method_files() if not needs(method_named(name))]


def method_named(name: str) -> type[Method]:
    """The method that divcon/methods/NAME.py defines. UsageError where there is none."""
    if name not in method_files():
        raise UsageError(unknown_name("method", name, method_names()))
    module = importlib.import_module(f"divcon.methods.{name}")
    (method,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method) and value.__module__ == module.__name__
    )
    return method


def settings_of(name: str) -> dict[str, Settings]:
    """The settings that a method's file declares, by the name of the recipe; those for small collections are always there."""
    module = importlib.import_module(method_named(name).__module__)
    return {name: SmallSettings(), **getattr(module, "SETTINGS", {})}


def small_settings(name: str) -> SmallSettings:
    """The method's settings for small collections."""
    settings = settings_of(name)[name]
    assert isinstance(settings, SmallSettings), f"{name}.py: the settings {name!r} are for small collections"
    return settings


def declared_settings() -> dict[str, tuple[str, Settings]]:
    """The method and the settings of each recipe that a method's file declares, by the name of the recipe."""
    return {recipe: (method, settings) for method in method_names() for recipe, settings in settings_of(method).items()}


def options_of(method: type[Method]) -> dict[str, object]:
    """The method's options and their defaults."""
    parameters = inspect.signature(method).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def needs(method: type[Method]) -> list[str]:
    """The arguments that a method needs besides an encoder and the number of images."""
    parameters = inspect.signature(method).parameters.values()
    return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty][2:]


def check_learns_alone(name: str) -> None:
    """UsageError for a method that needs more than an encoder and images."""
    if missing := needs(method_named(name)):
        raise UsageError(f"method={name} can't learn from images alone: it needs {' and '.join(missing)}")


def checked_options(name: str, options: Mapping[str, object]) -> dict[str, object]:
    """All options of the method: those given, checked, and the defaults of the others. UsageError for a typo or a wrong value."""
    known = options_of(method_named(name))
    for option in options:
        if option not in known:
            raise UsageError(unknown_name(f"option of {name}", option, list(known)))
    kinds = get_type_hints(method_named(name).__init__, include_extras=True)
    return {**known, **{option: validate_value(kinds[option], value, option) for option, value in options.items()}}
