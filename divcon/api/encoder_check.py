"""Try every encoder of a recipe, before any work begins, on images of each size that it will get."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace

from ..data.views.presets import PRESETS
from ..errors import UsageError
from ..files.text import printable
from ..methods.registry import method_named
from ..nets import encoder_trial
from ..nets.encoder import SLIM, EncoderSpec, check_spec
from ..nets.timm_models import designed_size
from ..nets.trained import Trained
from ..pipelines.recipe import Recipe
from ..stages.factorize import Factorization
from ..stages.learning import NetworkTraining, without_encoder
from ..stages.pretrain import Pretrain

FEW = 64  # images: which views a method wants does not depend on how many there are


def check_encoders(recipe: Recipe) -> None:
    """Raise UsageError, unless the encoder of each training can be built and accepts the images that it will get."""
    tried: set[str] = set()
    for place, training in recipe.trainings():
        spec, size, sizes = training.encoder, training.input_spec.size, _sizes(training)
        case = f"{spec} {size} {sorted(sizes(size))}"
        with named_in_errors(place):
            check_spec(spec)
            if case in tried:
                continue
            failed = encoder_trial.first_size_error(spec, size, sorted(sizes(size), reverse=True))
        tried.add(case)
        if failed is not None:
            raise UsageError(_refusal(recipe, place, training, *failed))


@contextlib.contextmanager
def named_in_errors(place: str) -> Iterator[None]:
    """Inside this block, a UsageError about an option of an encoder gets the name of its training: `base.encoder.stem`."""
    try:
        yield
    except UsageError as error:
        if not str(error).startswith("encoder."):
            raise
        raise UsageError(f"{place}.{error}") from error


def _sizes(training: NetworkTraining | Factorization) -> encoder_trial.Sizes:
    """A function from the size of views to the sides, in pixels, of the images that the encoder gets, in training and later."""
    method = without_encoder(training.method_for(FEW)) if isinstance(training, Pretrain) else None

    def sizes(size: int) -> set[int]:
        if isinstance(training, Factorization):
            return {size}
        pair = PRESETS[training.views](size)
        return {size, *(method.sides(pair) if method else {view.size for view in pair})}

    return sizes


def _refusal(recipe: Recipe, place: str, training: NetworkTraining | Factorization, side: int, why: str) -> str:
    spec, size, sizes = training.encoder, training.input_spec.size, _sizes(training)
    what = f"encoder={spec.name} does not take images of {side} pixels ({why})"
    to_blame = _to_blame(spec, size, sizes)
    if to_blame:
        options = " and ".join(f"{place}.encoder.options.{printable(option)}" for option in to_blame)
        return f"with {options}, {what}; leave {'it' if len(to_blame) == 1 else 'them'} out, and the encoder takes them"
    ways = _ways_out(place, training, _failing(recipe))
    if side == size:
        return f"{what}; {ways}"
    method = f"{place}.method={training.method}" if isinstance(training, Pretrain) else place
    return f"{what}, and at size={size} {method} gives it such images; {ways}"


def _to_blame(spec: EncoderSpec, size: int, sizes: encoder_trial.Sizes) -> list[str]:
    """The options without which the encoder takes these images: one of them, or all."""
    alone = [[option] for option in spec.options]
    for options in (*alone, list(spec.options)):
        kept = {name: value for name, value in spec.options.items() if name not in options}
        if options and encoder_trial.accepts_size(replace(spec, options=kept), size, sizes):
            return options
    return []


def _failing(recipe: Recipe) -> dict[str, NetworkTraining | Factorization]:
    """The trainings, by name, whose encoder does not take its images: they have to be corrected together."""
    return {
        place: training
        for place, training in recipe.trainings()
        if not encoder_trial.accepts_size(training.encoder, training.input_spec.size, _sizes(training))
    }


def _ways_out(
    place: str, training: NetworkTraining | Factorization, failing: Mapping[str, NetworkTraining | Factorization]
) -> str:
    """The options that can be typed instead. Each was tried for every training that fails."""
    together = {place: training, **failing}
    spec, size = training.encoder, training.input_spec.size

    def sizes(size: int) -> set[int]:
        return set().union(*(_sizes(each)(size) for each in together.values()))

    work = encoder_trial.working_sizes(spec, size, sizes, _usual(spec))
    ways = [f"{' or '.join(f'size={side}' for side in work)} would work"] if work else []
    if all(
        encoder_trial.accepts_size(_padded(each.encoder), each.input_spec.size, _sizes(each))
        for each in together.values()
    ):
        typed = " ".join(f"{its}.encoder.options.dynamic_img_pad=true" for its in together)
        ways.append(f"{typed}{' (all of them)' if len(together) > 1 else ''} would pad images to whole patches")
    if isinstance(training, Pretrain):
        ways.extend(f"{typed} would work at this size" for typed in _options(training, together)[:1])
    return "; ".join(ways) or "name another encoder: docs/encoders.md lists the sizes that each one takes"


def _padded(spec: EncoderSpec) -> EncoderSpec:
    return replace(spec, options={**spec.options, "dynamic_img_pad": True})


def _options(training: Pretrain, together: Mapping[str, NetworkTraining | Factorization]) -> list[str]:
    """Options of the method with which the encoder takes its images, as they are typed for each training."""
    alike = {place: each for place, each in together.items() if isinstance(each, Pretrain)}
    if len(alike) < len(together) or {each.method for each in alike.values()} != {training.method}:
        return []
    return [
        " ".join(f"{place}.options.{name}={value}" for place in alike)
        for name, value in method_named(training.method).sizes_by
        if all(_works_with(each, name, value) for each in alike.values())
    ]


def _works_with(training: Pretrain, name: str, value: object) -> bool:
    way = replace(training, options={**training.options, name: value})
    return encoder_trial.accepts_size(way.encoder, way.input_spec.size, _sizes(way))


def _usual(spec: EncoderSpec) -> int:
    return designed_size(spec.name) if spec.name not in SLIM else 32


def check_input_size(model: Trained) -> None:
    """Raise UsageError, unless a network takes images of the size that its encoder.json names."""
    why = encoder_trial.size_error(model.net.encoder, model.input_spec.size)
    if why is not None:
        raise UsageError(
            f"encoder={model.spec.name} does not take images of {model.input_spec.size} pixels ({why}); name another model, or "
            "train one at a size that it takes (docs/encoders.md)"
        )
