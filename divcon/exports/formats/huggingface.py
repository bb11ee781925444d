"""A folder of transformers: a TimmWrapperModel for a network of timm, a ResNetModel for a slim one with a large stem."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ...files.tensors import write_tensors
from ...nets.encoder import SLIM
from ...nets.trained import Trained
from ..compare import normalize
from ..contract import Encode
from ..fit import has_small_stem, is_slim, not_plain_timm, without_colors
from ..preprocessing import preprocessing_of, resizing_note
from ..timm_config import timm_config

packages = ("transformers",)
library = "transformers"
tolerance = 1e-5

STAGES = 4
BLOCK_NAMES = {  # of a slim ResNet and of a ResNetModel
    "conv1": "layer.0.convolution",
    "bn1": "layer.0.normalization",
    "conv2": "layer.1.convolution",
    "bn2": "layer.1.normalization",
    "downsample.0": "shortcut.convolution",
    "downsample.1": "shortcut.normalization",
}
USAGE = """\
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel

encoder = AutoModel.from_pretrained(".").eval()
processor = AutoImageProcessor.from_pretrained(".")
images = processor(Image.open("picture.jpg").convert("RGB"), return_tensors="pt")["pixel_values"]
with torch.no_grad():
    features = encoder(images).pooler_output.flatten(1)
"""


def misfit(model: Trained) -> str | None:
    if without_colors(model) or not is_slim(model):
        return not_plain_timm(model)
    if has_small_stem(model):
        return (
            f"{model.spec.name} has a stem that keeps the size of its images of {model.input_spec.size} pixels, and no "
            "network of transformers has one; with base.encoder.stem=own, or views of 48 pixels or more, it would fit"
        )
    return None


def holds_whitening(model: Trained) -> bool:
    return False  # an AutoModel ends in the pool


def write(model: Trained, folder: Path) -> None:
    if is_slim(model):
        _write_resnet(model, folder)
        return
    write_tensors(folder / "model.safetensors", model.net.encoder.state_dict())
    wrapper = {"architectures": ["TimmWrapperModel"], "model_type": "timm_wrapper", "torch_dtype": "float32"}
    _write_json(folder / "config.json", {**timm_config(model), **wrapper})


def load(folder: Path) -> Encode:
    from transformers import AutoImageProcessor, AutoModel

    with _quiet():
        encoder = AutoModel.from_pretrained(folder, local_files_only=True).eval()
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    own = getattr(processor, "data_config", None) or {"mean": processor.image_mean, "std": processor.image_std}

    def encode(pixels: Tensor) -> Tensor:
        features: Tensor = encoder(normalize(pixels, own["mean"], own["std"])).pooler_output
        return features.flatten(1)

    return encode


def usage(model: Trained) -> dict[str, str]:
    return {"transformers": USAGE}


def notes(model: Trained) -> str:
    file = "preprocessor_config.json" if is_slim(model) else "config.json"
    return resizing_note(model.input_spec, f"The image processor of transformers ({file})")


def _write_resnet(model: Trained, folder: Path) -> None:
    width = SLIM[model.spec.name]
    config = {
        "architectures": ["ResNetModel"],
        "model_type": "resnet",
        "torch_dtype": "float32",
        "num_channels": 3,
        "embedding_size": width,
        "hidden_sizes": [width << i for i in range(STAGES)],
        "depths": [1] * STAGES,
        "layer_type": "basic",
        "hidden_act": "relu",
    }
    write_tensors(folder / "model.safetensors", _resnet_weights(model.net.encoder.state_dict()))
    _write_json(folder / "config.json", config)
    _write_json(folder / "preprocessor_config.json", _processor_config(model))


def _resnet_weights(slim: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under the names of a ResNetModel, whose first kernel has 7x7 weights: the outer ones are 0."""
    weights = {"embedder.embedder.convolution.weight": F.pad(slim["conv1.weight"], (2, 2, 2, 2))}
    for name, tensor in slim.items():
        first, _, rest = name.partition(".")
        if first == "bn1":
            weights[f"embedder.embedder.normalization.{rest}"] = tensor
        elif first == "stages":
            stage, part = rest.split(".", 1)
            module, _, kind = part.rpartition(".")
            weights[f"encoder.stages.{stage}.layers.0.{BLOCK_NAMES[module]}.{kind}"] = tensor
    return weights


def _processor_config(model: Trained) -> dict[str, object]:
    steps = preprocessing_of(model.input_spec)
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": steps["resize"]},
        "resample": 3,  # Pillow's number for bicubic
        "do_center_crop": True,
        "crop_size": {"height": steps["crop"], "width": steps["crop"]},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": steps["mean"],
        "image_std": steps["std"],
    }


def _write_json(path: Path, value: dict[str, object]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the progress bars and the advice of transformers while the block runs."""
    from transformers.utils import logging

    untyped: Any = logging
    shown, verbosity = untyped.is_progress_bar_enabled(), untyped.get_verbosity()
    untyped.disable_progress_bar()
    untyped.set_verbosity_error()
    try:
        yield
    finally:
        untyped.set_verbosity(verbosity)
        if shown:
            untyped.enable_progress_bar()
