"""A folder of timm: model.safetensors and config.json, in timm's layout for the Hugging Face Hub."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ... import host_settings
from ...files.tensors import write_tensors
from ...nets.net import width
from ...nets.timm_models import model_args
from ...nets.trained import Trained
from ..compare import normalize
from ..contract import Encode
from ..fit import not_plain_timm
from ..preprocessing import resizing_note
from ..timm_config import timm_config

packages = ("timm",)
library = "timm"
tolerance = 1e-5

USAGE = """\
import timm
import torch
from PIL import Image

encoder = timm.create_model("local-dir:.", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(encoder))
with torch.no_grad():
    features = encoder(transform(Image.open("picture.jpg").convert("RGB"))[None])
"""


def misfit(model: Trained) -> str | None:
    return not_plain_timm(model)


def holds_whitening(model: Trained) -> bool:
    return _classifier(model) is not None


def write(model: Trained, folder: Path) -> None:
    weights, classes = model.net.encoder.state_dict(), 0
    if model.whitening is not None:
        name, classes = _classifier(model), width(model.net.encoder)
        weights[f"{name}.weight"], weights[f"{name}.bias"] = model.whitening.linear(classes)
    write_tensors(folder / "model.safetensors", weights)
    (folder / "config.json").write_text(json.dumps(timm_config(model, classes), indent=2) + "\n")


def load(folder: Path) -> Encode:
    import timm

    untyped: Any = timm
    encoder = untyped.create_model(f"local-dir:{folder}", pretrained=True).eval()
    config = untyped.data.resolve_model_data_config(encoder)

    def encode(pixels: Tensor) -> Tensor:
        features: Tensor = encoder(normalize(pixels, config["mean"], config["std"]))
        return features

    return encode


def usage(model: Trained) -> dict[str, str]:
    return {"timm": USAGE}


def _classifier(model: Trained) -> str | None:
    """Return the name of the classifier in timm's network with as many classes as features, if that is one linear layer."""
    import timm

    spec, size, d = model.spec, model.input_spec.size, width(model.net.encoder)
    untyped: Any = timm
    args = {**model_args(spec.name, spec.options, size), "num_classes": d}
    with host_settings.set_aside(), torch.device("meta"):
        network: nn.Module = untyped.create_model(spec.name.partition(".")[0], **args)
    added = network.state_dict().keys() - model.net.encoder.state_dict().keys()
    linear = [name for name, part in network.named_modules() if isinstance(part, nn.Linear) and part.in_features == d]
    return next((name for name in linear if added == {f"{name}.weight", f"{name}.bias"}), None)


def notes(model: Trained) -> str:
    note = resizing_note(model.input_spec, "The transform of timm (`pretrained_cfg` in config.json)")
    raw = (
        "The whitening stands where timm has a classifier: `timm.create_model(..., num_classes=0)` gives raw features."
    )
    return note if model.whitening is None else f"{note}\n\n{raw}"
