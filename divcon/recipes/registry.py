"""Recipes by name: those of methods, from the settings that a method declares, and the files of this room."""

import importlib
import pkgutil
from types import ModuleType

from ..config import unknown_name
from ..errors import UsageError
from ..methods.registry import declared_settings
from ..methods.settings import SmallSettings
from .paper import paper_recipe
from .recipe import NamedRecipe
from .small import small_recipe

NOT_RECIPES = {"options", "paper", "recipe", "registry", "settled", "small"}  # files of this room that define no recipe


def names() -> list[str]:
    """The names that `recipe=` takes."""
    return sorted({*recipe_files(), *declared_settings()})


def named(name: str) -> NamedRecipe:
    """The recipe of this name. UsageError where there is none."""
    if name in recipe_files():
        return _of_file(importlib.import_module(f"divcon.recipes.{name}"))
    declared = declared_settings()
    if name not in declared:
        raise UsageError(unknown_name("recipe", name, names()))
    method, settings = declared[name]
    if isinstance(settings, SmallSettings):
        return small_recipe(name, method, settings)
    return paper_recipe(name, method, settings)


def recipe_files() -> set[str]:
    """The names of the files of this room that define a recipe."""
    package = importlib.import_module("divcon.recipes")
    return {module.name for module in pkgutil.iter_modules(package.__path__)} - NOT_RECIPES


def _of_file(module: ModuleType) -> NamedRecipe:
    said = {"notice": module.notice} if hasattr(module, "notice") else {}
    return NamedRecipe(module.about, module.defaults, module.recipe, module.__doc__ or "", **said)
