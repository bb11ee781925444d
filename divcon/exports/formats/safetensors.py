"""The files of a finished stage, without the projector: encoder.safetensors, encoder.json and whitening.safetensors, for divcon and
plain torch."""

import inspect
from pathlib import Path

from torch import Tensor

from ...nets import slim
from ...nets.encoder import CHANNELS, SLIM
from ...nets.net import Net
from ...nets.timm_models import model_args
from ...nets.trained import Trained
from ..compare import normalize
from ..contract import Encode
from ..fit import has_small_stem, is_slim, without_colors
from ..preprocessing import tensor_code

packages = ("safetensors",)
library = "divcon"
tolerance = 1e-5

WITH_DIVCON = """\
import divcon
import torch

encoder = divcon.load(".")
with torch.no_grad():
    features = encoder(encoder.preprocess("picture.jpg")[None])
"""
WITH_TORCH = """\
import torch
{library}
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torchvision.transforms import v2

{images}
encoder = {network}
weights = load_file("encoder.safetensors")
encoder.load_state_dict({{name.removeprefix("encoder."): tensor for name, tensor in weights.items()}})
encoder.eval()
with torch.no_grad():
    features = encoder(images)
"""
WHITEN = """
whitening = load_file("whitening.safetensors")
features = (features - whitening["mean"]) @ whitening["projection"]
"""
SMALL_STEM = """
encoder.conv1 = torch.nn.Conv2d(3, {width}, 3, padding=1, bias=False)  # the small stem of this encoder
encoder.maxpool = torch.nn.Identity()"""


def misfit(model: Trained) -> str | None:
    return None


def holds_whitening(model: Trained) -> bool:
    return True


def write(model: Trained, folder: Path) -> None:
    Trained(model.spec, model.input_spec, Net(model.net.encoder).eval(), whitening=model.whitening).save(folder)
    if is_slim(model) and without_colors(model) is None:
        (folder / "slim.py").write_text(inspect.getsource(slim))


def load(folder: Path) -> Encode:
    model = Trained.load(folder)
    spec, encoder = model.input_spec, model.net.encoder

    def encode(pixels: Tensor) -> Tensor:
        features: Tensor = encoder(normalize(pixels, spec.mean, spec.std))
        return features if model.whitening is None else model.whitening(features)

    return encode


def usage(model: Trained) -> dict[str, str]:
    if without_colors(model):  # a part of the encoder is in divcon alone
        return {"divcon": WITH_DIVCON}
    return {"divcon": WITH_DIVCON, "torch without divcon": _plain_usage(model)}


def notes(model: Trained) -> str:
    return "`encoder.preprocess` of divcon does this, and also chooses the background of transparent pixels."


def _plain_usage(model: Trained) -> str:
    library, network = _slim(model) if is_slim(model) else _timm(model)
    program = WITH_TORCH.format(library=library, network=network, images=tensor_code(model.input_spec))
    return program + (WHITEN if model.whitening else "")


def _slim(model: Trained) -> tuple[str, str]:
    options = f"small_stem={has_small_stem(model)}, channels={CHANNELS[model.spec.colors]}"
    return "from slim import SlimResNet  # the file in this folder", f"SlimResNet({SLIM[model.spec.name]}, {options})"


def _timm(model: Trained) -> tuple[str, str]:
    args = model_args(model.spec.name, model.spec.options, model.input_spec.size)
    typed = f", **{args!r}" if args else ""
    stem = (
        SMALL_STEM.format(width=len(model.net.encoder.get_parameter("conv1.weight"))) if has_small_stem(model) else ""
    )
    return "import timm", f"timm.create_model({model.spec.name.partition('.')[0]!r}, num_classes=0{typed}){stem}"
