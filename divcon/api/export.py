"""Export an encoder to the files of other libraries."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..answers import Answer
from ..errors import UsageError
from ..exports.origin import origin_of
from ..exports.registry import check_format, format_named
from ..exports.write import Export, check_folder, write_export
from ..files.disk_errors import refuse_unwritable
from ..files.text import printable
from ..log import progress
from ..nets.trained import Trained
from .encoder_check import check_input_size
from .entry import runs_alone
from .models import find_model, whitening_of
from .output_files import output_folder

LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,99}")  # a name of SPDX or of the Hugging Face Hub


@dataclass(frozen=True)
class ExportAnswer(Answer):
    """The answer of `export`: an Export for each format."""

    exports: list[Export]


@runs_alone
def export(
    model: str | Path | Trained,
    *,
    out: str | Path,
    format: str | Sequence[str],
    license: str = "unknown",
    whiten: bool = True,
) -> ExportAnswer:
    """Write the encoder of a model to `out`/FORMAT for each format: timm, torchvision, huggingface, onnx or safetensors.

    The features of an export are whitened by its last linear layer, unless whiten=False; where a format has none, the whitening
    is a file beside it. Each export is loaded back by its library and compared with the original, and is written complete or not at all. `license`
    is written on the model cards. Raises UsageError if a format can't hold the encoder, and for a place inside a run or inside
    the collection; FaultError if an export gives other features.
    """
    names = _names(format)
    _check_license(license)
    folders = {name: Path(out) / name for name in names}
    for name in names:
        format_named(name)
    trained = model if isinstance(model, Trained) else find_model(model)
    origin = origin_of(trained)
    output_folder("out", out, data=origin.record.data if origin else ())
    for folder in folders.values():
        refuse_unwritable(folder / "model.safetensors")
        check_folder(folder)
    check_input_size(trained)
    trained = trained if whitening_of(trained, whiten) else trained.raw()
    for name in names:
        check_format(name, trained)
    exports = []
    for done, (name, folder) in enumerate(folders.items()):
        progress("exporting", done, len(folders), "formats", name)
        exports.append(write_export(name, trained, origin, folder, license))
    progress("exporting", len(folders), len(folders), "formats")
    return ExportAnswer(exports)


def _names(format: str | Sequence[str]) -> list[str]:
    """Return the names of the formats, each once."""
    names = format.split(",") if isinstance(format, str) else [str(name) for name in format]
    if not names:
        raise UsageError("format= is empty; name at least one, like format=onnx")
    return list(dict.fromkeys(names))


def _check_license(license: str) -> None:
    if not LICENSE.fullmatch(license):
        raise UsageError(
            f"license={printable(license)}: give the short name of a license, like license=apache-2.0 or license=cc-by-4.0"
        )
