"""The weights of a network of torchvision, with the numbers of its preprocessing."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ...files.tensors import write_tensors
from ...nets.net import width
from ...nets.trained import Trained
from ..compare import normalize
from ..contract import Encode
from ..fit import has_small_stem, is_slim, without_colors
from ..preprocessing import preprocessing_of, resizing_note, tensor_code

packages = ("torchvision",)
library = "torchvision"
tolerance = 1e-5

HEADS = ("fc", "classifier")  # the names of last layers, by class of network
RAW = "torch.nn.Identity()  # the export has no classifier"
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
encoder.{head} = {last}
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


def holds_whitening(model: Trained) -> bool:
    return True


def write(model: Trained, folder: Path) -> None:
    weights, features = model.net.encoder.state_dict(), width(model.net.encoder)
    if model.whitening is not None:
        head = _last_layer(model)
        weights[f"{head}.weight"], weights[f"{head}.bias"] = model.whitening.linear(features)
    write_tensors(folder / "model.safetensors", weights)
    settings = {
        "model": _name(model),
        "small_stem": has_small_stem(model),
        "whitened_features": features if model.whitening is not None else 0,
        "preprocessing": preprocessing_of(model.input_spec),
    }
    (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")


def load(folder: Path) -> Encode:
    settings = json.loads((folder / "config.json").read_text())
    network = _build(
        settings["model"], small_stem=settings["small_stem"], whitened=settings.get("whitened_features", 0)
    )
    assert network is not None
    network.load_state_dict(load_file(folder / "model.safetensors"))
    encoder, steps = network.eval(), settings["preprocessing"]

    def encode(pixels: Tensor) -> Tensor:
        features: Tensor = encoder(normalize(pixels, steps["mean"], steps["std"]))
        return features

    return encode


def usage(model: Trained) -> dict[str, str]:
    images, d = tensor_code(model.input_spec), width(model.net.encoder)
    last = f"torch.nn.Linear({d}, {d})  # the whitening" if model.whitening is not None else RAW
    stem = SMALL_STEM if has_small_stem(model) else ""
    program = USAGE.format(images=images, name=_name(model), head=_last_layer(model), last=last, stem=stem)
    return {"torchvision": program}


def notes(model: Trained) -> str:
    return resizing_note(
        model.input_spec, "With torchvision's own `Resize` and `CenterCrop` (their numbers are in config.json), it"
    )


def _name(model: Trained) -> str:
    """The name of the network without that of its weights; torchvision and timm give these networks the same names."""
    return model.spec.name.partition(".")[0]


def _last_layer(model: Trained) -> str | None:
    with torch.device("meta"):
        return _head(_torchvision_model(_name(model)))


def _build(name: str, *, small_stem: bool, whitened: int = 0) -> nn.Module | None:
    """Return torchvision's network without its classifier, or with a layer that whitens so many features in its place; None if
    it has no such network."""
    import torchvision

    if name not in torchvision.models.list_models(module=torchvision.models):
        return None
    network = _torchvision_model(name)
    head = _head(network)
    if head is None:
        return None
    setattr(network, head, nn.Linear(whitened, whitened) if whitened else nn.Identity())
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
