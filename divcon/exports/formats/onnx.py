"""A file of ONNX that takes the pixels of views, 0 to 255, and normalizes them itself."""

import json
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from ... import __version__
from ...errors import UsageError
from ...files.text import printable
from ...nets.net import width
from ...nets.preprocessing import PREPROCESSING
from ...nets.trained import InputSpec, Trained
from ...nets.whitening import Whitening
from ..compare import made_pictures
from ..contract import Encode
from ..preprocessing import view_code

packages = ("onnx", "onnxruntime", "onnxscript")
library = "onnx"
tolerance = 1e-4

OPSET = 18
FILE = "model.onnx"
LARGE = 2**30  # bytes of weights: protobuf takes 2 GiB at most, so that larger ones lie in a file beside
USAGE = """\
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

{view}
images = np.asarray(view).transpose(2, 0, 1)[None]  # uint8 [n, 3, {size}, {size}] in RGB; the file normalizes them
encoder = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
(features,) = encoder.run(["features"], {{"pixels": images}})
"""


class FromPixels(nn.Module):
    """An encoder with the normalization of its input and the whitening of its features: uint8 [n, 3, s, s] -> features [n, d]."""

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: nn.Module, spec: InputSpec, whitening: Whitening | None):
        super().__init__()
        self.encoder = encoder
        self.whitening = nn.Identity() if whitening is None else whitening.layer(width(encoder))
        for name, values in (("mean", spec.mean), ("std", spec.std)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1) * 255)

    def forward(self, pixels: UInt8[Tensor, "n 3 s s"]) -> Float[Tensor, "n d"]:
        features: Tensor = self.whitening(self.encoder((pixels.float() - self.mean) / self.std))
        return features


def misfit(model: Trained) -> str | None:
    return None


def holds_whitening(model: Trained) -> bool:
    return True


def write(model: Trained, folder: Path) -> None:
    program = _program(model)
    program.model.metadata_props.update(_metadata(model))
    weights = sum(tensor.nbytes for tensor in model.net.encoder.state_dict().values())
    program.save(folder / FILE, external_data=weights > LARGE)


def load(folder: Path) -> Encode:
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / FILE, providers=["CPUExecutionProvider"])

    def encode(pixels: Tensor) -> Tensor:
        (features,) = session.run(["features"], {"pixels": pixels.numpy()})
        return torch.from_numpy(features)

    return encode


def usage(model: Trained) -> dict[str, str]:
    return {"onnxruntime": USAGE.format(view=view_code(model.input_spec), size=model.input_spec.size)}


def notes(model: Trained) -> str:
    size = model.input_spec.size
    return (
        f"The file normalizes its input itself: it takes `pixels`, uint8 [batch, 3, {size}, {size}] in RGB, and any number of "
        f"images is a batch. Its opset is {OPSET}. Its metadata say the same."
    )


def _program(model: Trained) -> Any:  # torch.onnx.ONNXProgram, which mypy can't import without onnx
    """Return the encoder as torch exports it, for batches of any number of images."""
    encoder = FromPixels(model.net.encoder, model.input_spec, model.whitening).eval()
    pixels = made_pictures(model.input_spec.size)[:2]  # the exporter takes a batch of one for a constant
    try:
        return torch.onnx.export(
            encoder,
            (pixels,),
            input_names=["pixels"],
            output_names=["features"],
            dynamic_shapes={"pixels": {0: torch.export.Dim("batch")}},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    except ImportError as error:
        raise UsageError(
            f"format=onnx: this torch needs another onnxscript ({printable(str(error))}); type pip install -U onnxscript"
        ) from error
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        why = printable((str(error).strip() or type(error).__name__).splitlines()[0][:200])
        raise UsageError(
            f"format=onnx: torch can't export {model.spec.name} ({why}); format=safetensors would work"
        ) from error


def _metadata(model: Trained) -> dict[str, str]:
    spec = model.input_spec
    preprocessing = {
        **PREPROCESSING,
        "size": spec.size,
        "mean": spec.mean,
        "std": spec.std,
        "normalization": "in the file",
    }
    features = "raw" if model.whitening is None else "whitened"
    return {
        "producer": f"divcon {__version__}",
        "encoder": model.spec.name,
        "features": features,
        "preprocessing": json.dumps(preprocessing),
    }
