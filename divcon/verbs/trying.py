"""Every encoder of a recipe is tried before any work begins, on images of each size that it will be shown."""

from collections.abc import Iterator
from dataclasses import fields, replace

import torch
from torch import nn

from ..data.views import PRESETS
from ..errors import UsageError
from ..method import Method, named
from ..nets import trial
from ..nets.encoder import SLIM, EncoderSpec, check_spec
from ..nets.timm_models import designed_size
from ..nets.trained import Trained
from ..recipes import Recipe
from ..stages import Factoring, Learning, Pretrain

FEW = 64  # images: which views a method wants does not depend on how many there are


class _NoEncoder(nn.Module):
    """Stands for one while a method is asked what it will show."""

    num_features = 8


def check_encoders(recipe: Recipe) -> None:
    """UsageError, unless every training's encoder can be built and takes the images it will be shown."""
    tried: set[str] = set()
    for place, training in _trainings(recipe):
        check_spec(training.encoder)
        spec, size, sizes = training.encoder, training.sight.size, _sizes(training)
        case = f"{spec} {size} {sorted(sizes(size))}"
        failed = trial.failure(spec, size, sorted(sizes(size), reverse=True)) if case not in tried else None
        tried.add(case)
        if failed is not None:
            raise UsageError(_refusal(place, training, sizes, *failed))


def _trainings(recipe: Recipe) -> Iterator[tuple[str, Learning | Factoring]]:
    for field in fields(recipe):
        training = getattr(recipe, field.name)
        if isinstance(training, Learning | Factoring):
            yield field.name, training


def _sizes(training: Learning | Factoring) -> trial.Sizes:
    """From a size of views to how wide the images are that an encoder is shown: in training, and at the end by `embed`."""
    method = _asked(training) if isinstance(training, Pretrain) else None

    def sizes(size: int) -> set[int]:
        if isinstance(training, Factoring):
            return {size}
        pair = PRESETS[training.views](size)
        return {size, *(method.sides(pair) if method else {view.size for view in pair})}

    return sizes


def _asked(training: Pretrain) -> Method:
    """The method, with its options, around no encoder."""
    with torch.random.fork_rng(devices=[]):
        return named(training.method)(_NoEncoder(), FEW, **training.options)


def _refusal(place: str, training: Learning | Factoring, sizes: trial.Sizes, side: int, why: str) -> str:
    spec, size = training.encoder, training.sight.size
    what = f"encoder={spec.name} does not take images of {side} pixels ({why})"
    ways = _ways_out(place, training, sizes)
    if side == size:
        return f"{what}; {ways}"
    method = f"{place}.method={training.method}" if isinstance(training, Pretrain) else place
    return f"{what}, and at size={size} {method} shows it such; {ways}"


def _ways_out(place: str, training: Learning | Factoring, sizes: trial.Sizes) -> str:
    """What can be typed instead; each was tried."""
    spec, size = training.encoder, training.sight.size
    work = trial.sizes_that_work(spec, size, sizes, _usual(spec))
    ways = [f"{' or '.join(f'size={side}' for side in work)} would do"] if work else []
    padded = replace(spec, options={**spec.options, "dynamic_img_pad": True})
    if trial.takes(padded, size, sizes):
        ways.append(f"""'{place}.encoder.options={{"dynamic_img_pad":true}}' fills images up to whole patches""")
    if isinstance(training, Pretrain):
        ways.extend(f"{place}.options.{option} would do at this size" for option in _options(training)[:1])
    return "; ".join(ways) or "name another encoder: docs/encoders.md says which take what"


def _options(training: Pretrain) -> list[str]:
    """Options of the method with which it shows images that the encoder takes."""
    ways = [
        (f"{name}={value}", replace(training, options={**training.options, name: value}))
        for name, value in named(training.method).sizes_by
    ]
    return [typed for typed, way in ways if trial.takes(way.encoder, way.sight.size, _sizes(way))]


def _usual(spec: EncoderSpec) -> int:
    return designed_size(spec.name) if spec.name not in SLIM else 32


def check_shown(model: Trained) -> None:
    """UsageError, unless a network takes images of the size that its encoder.json names."""
    why = trial.objection(model.net.encoder, model.sight.size)
    if why is not None:
        raise UsageError(
            f"encoder={model.spec.name} does not take images of {model.sight.size} pixels ({why}); name another model, or "
            "train one at a size that it takes (docs/encoders.md)"
        )
