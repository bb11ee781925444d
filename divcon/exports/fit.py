"""Reasons why another library can't build an encoder."""

from ..nets.encoder import FACTORS, SLIM, wants_small_stem
from ..nets.timm_models import is_resnet
from ..nets.trained import Trained


def is_slim(model: Trained) -> bool:
    return model.spec.name in SLIM


def has_small_stem(model: Trained) -> bool:
    """Return True if the network's stem keeps the size of the images: a slim one's, or one that replaced timm's."""
    small = wants_small_stem(model.spec, model.input_spec.size)
    return small and (is_slim(model) or is_resnet(model.net.encoder))


def without_colors(model: Trained) -> str | None:
    """Return the reason for an encoder that does not begin with the colors of an image."""
    if model.spec.name == FACTORS:
        return "it is a matrix factorization, which is no network of another library"
    if model.spec.colors == "edges":
        return (
            "it computes edges before its network (encoder.colors=edges), and no network of another library does that"
        )
    return None


def not_plain_timm(model: Trained) -> str | None:
    """Return the reason for an encoder that is not a network of timm as timm builds it."""
    if without_colors(model):
        return without_colors(model)
    if is_slim(model):
        return f"{model.spec.name} is a network of divcon, and timm has none like it"
    if has_small_stem(model):
        return (
            f"{model.spec.name} has a small stem for its images of {model.input_spec.size} pixels (encoder.stem), "
            "which timm.create_model does not build"
        )
    return None
