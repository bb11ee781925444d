"""Recipes: the settings of an experiment, by name."""

from .options import Options
from .recipe import NamedRecipe
from .registry import named, names
from .settled import batch_for, settled

__all__ = ["NamedRecipe", "Options", "batch_for", "named", "names", "settled"]
