"""List the methods that a recipe can learn by."""

from ..methods.registry import method_named, method_names


def list_methods() -> dict[str, str]:
    """Return the names of the methods, each with a line about it."""
    return {name: method_named(name).about for name in method_names()}
