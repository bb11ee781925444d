"""Find the non-negative parts that images are made of."""

from dataclasses import dataclass, field, replace

from pydantic import PositiveInt

from ..data.images import Images
from ..nets.encoder import FACTORS, EncoderSpec, build
from ..nets.factors import Factors
from ..nets.net import Net
from ..nets.trained import InputSpec, Trained
from ..runs.recorder import Plan, planned_by
from ..runs.stage import Result, StageContext, by_leader
from ..train.factorization import factorize_pixels
from ..train.whitening import FITTED, fit_whitening
from .learning import PlannedNetwork, TrainingPlan, fitting_batch, pixels_of, sample


@dataclass(frozen=True, kw_only=True)
class Factorization:
    """The recipe of a factorization: `samples_seen` center views in all, `batch_size` at a time, into the encoder's number of
    components. Pixels are in 0..1."""

    samples_seen: float
    batch_size: PositiveInt = 256
    encoder: EncoderSpec = field(default_factory=lambda: EncoderSpec(FACTORS, {"components": 64, "updates": 200}))
    input_spec: InputSpec = field(default_factory=lambda: InputSpec(32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    seed: int = 0


def plan_factorize(images: Images, recipe: Factorization) -> Plan[Trained]:
    """The plan of `factorize`."""
    fitted = replace(recipe, batch_size=fitting_batch(recipe.batch_size, len(images)))
    network = PlannedNetwork(recipe.encoder, recipe.input_spec, None)
    return Plan(network, TrainingPlan(fitted, len(images)))


@planned_by(plan_factorize)
@by_leader
def factorize(context: StageContext, images: Images, recipe: Factorization) -> Result[Trained]:
    """Find the non-negative parts that images are made of; the encoder gives the amount of each part in an image."""
    pixels = pixels_of(context, images, recipe.input_spec)
    factors = build(recipe.encoder, recipe.input_spec.size)
    assert isinstance(factors, Factors)
    size = fitting_batch(recipe.batch_size, len(images))
    summary = factorize_pixels(
        context, factors, pixels, recipe.input_spec, samples_seen=recipe.samples_seen, batch_size=size, seed=recipe.seed
    )
    net = Net(factors)
    whitening = fit_whitening(context, net, recipe.input_spec, pixels, sample(len(images), FITTED, 0))
    return Result(Trained(recipe.encoder, recipe.input_spec, net, whitening=whitening), summary)
