"""divcon methods"""

from .arguments import Json
from .terminal import print_names


def methods(json: Json = False) -> None:
    """List the methods that method= takes."""
    from ..methods.registry import method_named, method_names

    print_names({name: method_named(name).about for name in method_names()}, json)
