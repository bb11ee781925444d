"""List the recipes."""

from .. import recipes


def list_recipes() -> dict[str, str]:
    """Return the names of the recipes, each with a line about it."""
    return {name: recipes.named(name).about for name in recipes.names()}
