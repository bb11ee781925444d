"""divcon encoders"""

from .arguments import Json
from .terminal import print_names


def encoders(json: Json = False) -> None:
    """List the encoders that encoder= takes. They are divcon's slim ones, and all of timm's."""
    from ..api.list_encoders import list_encoders

    print_names(list_encoders(), json)
