"""The weights of a network of torchvision, with the numbers of its preprocessing."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ...files.tensors import write_tensors
from ...nets.trained import Trained
from ..compare import normalize
from ..contract import Encode
from ..fit import has_small_stem, is_slim, without_colors
from ..preprocessing import preprocessing_of, resizing_note, tensor_code

packages = ("torchvision",)
library = "torchvision"
tolerance = 1e-5

HEADS = ("fc", "classifier")  # the names of last layers, by class of network
SMALL_STEM = """\
encoder.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)  # the small stem of this encoder
encoder.maxpool = torch.nn.Identity()
"""
USAGE = """\
import torch
import torchvision
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torchvision.transforms import v2

{images}
encoder = torchvision.models.{name}()
encoder.{head} = torch.nn.Identity()  # the export has no classifier
{stem}encoder.load_state_dict(load_file("model.safetensors"))
encoder.eval()
with torch.no_grad():
    features = encoder(images)
"""


def misfit(model: Trained) -> str | None:
    if without_colors(model):
        return without_colors(model)
    if is_slim(model):
        return f"{model.spec.name} is a network of divcon, and torchvision has none like it"
    with torch.device("meta"):
        network = _build(_name(model), small_stem=has_small_stem(model))
    if network is None or _shapes(network) != _shapes(model.net.encoder):
        return f"torchvision has no network with the weights of {model.spec.name} (it has those of timm's ResNets and DenseNets)"
    return None


def write(model: Trained, folder: Path) -> None:
    write_tensors(folder / "model.safetensors", model.net.encoder.state_dict())
    steps = preprocessing_of(model.input_spec)
    settings = {"model": _name(model), "small_stem": has_small_stem(model), "preprocessing": steps}
    (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")


def load(folder: Path) -> Encode:
    settings = json.loads((folder / "config.json").read_text())
    network = _build(settings["model"], small_stem=settings["small_stem"])
    assert network is not None
    network.load_state_dict(load_file(folder / "model.safetensors"))
    encoder, steps = network.eval(), settings["preprocessing"]

    def encode(pixels: Tensor) -> Tensor:
        features: Tensor = encoder(normalize(pixels, steps["mean"], steps["std"]))
        return features

    return encode


def usage(model: Trained) -> dict[str, str]:
    with torch.device("meta"):
        head = _head(_torchvision_model(_name(model)))
    images = tensor_code(model.input_spec)
    stem = SMALL_STEM if has_small_stem(model) else ""
    return {"torchvision": USAGE.format(images=images, name=_name(model), head=head, stem=stem)}


def notes(model: Trained) -> str:
    return resizing_note(
        model.input_spec, "With torchvision's own `Resize` and `CenterCrop` (their numbers are in config.json), it"
    )


def _name(model: Trained) -> str:
    """The name of the network without that of its weights; torchvision and timm give these networks the same names."""
    return model.spec.name.partition(".")[0]


def _build(name: str, *, small_stem: bool) -> nn.Module | None:
    """Return torchvision's network without its classifier, or None if it has no such network."""
    import torchvision

    if name not in torchvision.models.list_models(module=torchvision.models):
        return None
    network = _torchvision_model(name)
    head = _head(network)
    if head is None:
        return None
    setattr(network, head, nn.Identity())
    if small_stem:
        network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        network.maxpool = nn.Identity()
    return network


def _torchvision_model(name: str) -> nn.Module:
    import torchvision

    network: nn.Module = torchvision.models.get_model(name, weights=None)
    return network


def _head(network: nn.Module) -> str | None:
    return next((name for name in HEADS if isinstance(getattr(network, name, None), nn.Linear)), None)


def _shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in network.state_dict().items()}
