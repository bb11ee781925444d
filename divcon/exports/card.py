"""The model card of an export: README.md, with the metadata of the Hugging Face Hub."""

import re
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from .. import __version__
from ..files.text import printable
from ..nets.trained import Trained
from ..nets.whitening import Whitening
from .compare import tolerance_of
from .contract import Format
from .origin import Origin
from .preprocessing import crop_share

MARKUP = re.compile(r"([!-/:-@\[-`{-~])")  # the characters that Markdown lets one escape
BESIDE = """
from safetensors.torch import load_file

whitening = load_file("whitening.safetensors")
features = (features - whitening["mean"]) @ whitening["projection"]
"""
TAGS = ("divcon", "self-supervised-learning", "feature-extraction")


def model_card(
    name: str,
    format: Format,
    model: Trained,
    beside: Whitening | None,
    origin: Origin | None,
    difference: float,
    license: str,
) -> str:
    """Return the text of the model card of an export in the format `name`; `beside` is a whitening in a file of its own."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    programs = {needed: program + (BESIDE if beside else "") for needed, program in format.usage(model).items()}
    environment = Environment(
        loader=PackageLoader("divcon", "exports"),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {"plain": plain_text, "percent": _percent}
    return environment.get_template("card.md.jinja").render(
        format=name,
        library=format.library,
        license=license,
        tags=(*TAGS, name),
        encoder=model.spec.name,
        features=model.net.encoder.num_features,
        input_spec=asdict(model.input_spec),
        share=crop_share(),
        origin=origin,
        supervised=origin is not None and str(origin.record.options.get("recipe")).startswith("supervised"),
        scores=_score_rows(origin) if origin else [],
        usage=programs,
        whitened="beside" if beside else "inside" if model.whitening else "",
        notes=format.notes(model),
        difference=difference,
        tolerance=tolerance_of(format, model),
        versions={"divcon": __version__, **{package: version(package) for package in ("torch", *format.packages)}},
    )


def plain_text(text: object) -> str:
    """Return a text from a stranger as Markdown that shows the text itself, on one line."""
    from markupsafe import Markup  # which jinja2 brings along

    return Markup(MARKUP.sub(r"\\\1", printable(str(text))))


def _score_rows(origin: Origin) -> list[dict[str, object]]:
    """Return the scores in rows: the labeled folder, the number of its images, the accuracies, and other scores."""
    return [
        {
            "folder": Path(kept.folder).name,
            "images": kept.scores.images,
            "classes": kept.scores.classes,
            "knn": kept.scores.knn.k20 if kept.scores.knn else None,
            "knn_raw": kept.scores.knn.raw.k20 if kept.scores.knn and kept.scores.knn.raw else None,
            "linear": kept.scores.linear.top1 if kept.scores.linear else None,
            "others": kept.scores.others,
        }
        for kept in origin.scores
    ]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
