"""The file config.json of a model of timm, as on the Hugging Face Hub."""

from typing import Any

from ..nets.timm_models import model_args
from ..nets.trained import Trained
from .preprocessing import timm_share

KEPT = ("pool_size", "first_conv", "classifier", "fixed_input_size", "min_input_size")  # of timm's own configuration


def timm_config(model: Trained, classes: int = 0) -> dict[str, object]:
    """Return the configuration by which timm rebuilds the encoder, with a last linear layer if it has `classes`, and finds its
    preprocessing."""
    spec, size, untyped = model.spec, model.input_spec.size, model.net.encoder
    encoder: Any = untyped  # torch gives the attributes of a module no types
    own = {key: encoder.pretrained_cfg[key] for key in KEPT if key in encoder.pretrained_cfg}
    return {
        "architecture": spec.name.partition(".")[0],
        "num_classes": classes,
        "num_features": encoder.num_features,
        "model_args": model_args(spec.name, spec.options, size),
        "pretrained_cfg": {
            **own,
            "input_size": [3, size, size],
            "interpolation": "bicubic",
            "crop_pct": timm_share(size),
            "crop_mode": "center",
            "mean": list(model.input_spec.mean),
            "std": list(model.input_spec.std),
            "num_classes": classes,
        },
    }
