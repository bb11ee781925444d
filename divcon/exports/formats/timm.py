"""A folder of timm: model.safetensors and config.json, in timm's layout for the Hugging Face Hub."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from ...files.tensors import write_tensors
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


def write(model: Trained, folder: Path) -> None:
    write_tensors(folder / "model.safetensors", model.net.encoder.state_dict())
    (folder / "config.json").write_text(json.dumps(timm_config(model), indent=2) + "\n")


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


def notes(model: Trained) -> str:
    return resizing_note(model.input_spec, "The transform of timm (`pretrained_cfg` in config.json)")
