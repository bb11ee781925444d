"""divcon methods"""

from .arguments import Json
from .terminal import print_names


def methods(json: Json = False) -> None:
    """List the methods that method= takes."""
    from ..api.list_methods import list_methods

    print_names(list_methods(), json)
