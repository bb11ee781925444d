"""List the encoders that can be trained."""

from ..nets.encoder import SLIM, names


def list_encoders() -> dict[str, str]:
    """Return the names of the encoders, each with its kind."""
    return {name: "a slim ResNet-10" if name in SLIM else "timm" for name in names()}
