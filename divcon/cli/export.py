"""divcon export MODEL out=FOLDER format=timm,onnx"""

from .arguments import Json, ModelArgument, Words, take_output, typed_options
from .terminal import print_answer, table


def export(model: ModelArgument, words: Words = None, json: Json = False) -> None:
    """Write a model for other libraries: format=timm, torchvision, huggingface, onnx or safetensors, or several of them.

    Each export is loaded back by its library and compared. whiten=false leaves the features raw."""
    options = typed_options(words, "out", "format", "license", "whiten")
    out = take_output(options, "out", "out=exported")
    formats = take_output(options, "format", "format=onnx, or format=timm,onnx")
    from ..api import export
    from ..config import validate_arguments

    done = export.export(model, out=out, format=formats, **validate_arguments(export.export, options))
    rows = [[each.format, each.folder, f"{each.difference:.1e}"] for each in done.exports]
    print_answer(done, json, table(["format", "folder", "difference"], rows))
