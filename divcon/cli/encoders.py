"""divcon encoders"""

from .arguments import Json
from .terminal import print_names


def encoders(json: Json = False) -> None:
    """List the encoders that encoder= takes. They are divcon's slim ones, and all of timm's."""
    from ..nets.encoder import SLIM, names

    print_names({name: "a slim ResNet-10" if name in SLIM else "timm" for name in names()}, json)
