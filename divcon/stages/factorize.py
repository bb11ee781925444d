"""Find the non-negative parts that images are made of."""

from dataclasses import asdict, dataclass, field

from pydantic import PositiveInt

from ..data.images import Images
from ..nets.encoder import FACTORS, EncoderSpec, build
from ..nets.factors import Factors
from ..nets.net import Net
from ..nets.trained import InputSpec, Trained
from ..runs.run import StageContext
from ..train.factorization import factorize_pixels
from .learning import pixels_of


@dataclass(frozen=True, kw_only=True)
class Factorization:
    """How many center views to factor, so many at a time, and into how many components. Pixels are in 0..1."""

    images: float
    batch_size: PositiveInt = 256
    encoder: EncoderSpec = field(default_factory=lambda: EncoderSpec(FACTORS, {"components": 64, "updates": 200}))
    input_spec: InputSpec = field(default_factory=lambda: InputSpec(32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    seed: int = 0


def factorize(context: StageContext, images: Images, recipe: Factorization) -> Trained:
    """Find the non-negative parts that images are made of; the encoder says how much of each is in an image."""
    pixels = pixels_of(context, images, recipe.input_spec)
    factors = build(recipe.encoder, recipe.input_spec.size)
    assert isinstance(factors, Factors)
    size = max(2, min(recipe.batch_size, len(images) // 8))
    summary = factorize_pixels(
        context, factors, pixels, recipe.input_spec, images=recipe.images, batch_size=size, seed=recipe.seed
    )
    context.notes |= asdict(summary)
    return Trained(recipe.encoder, recipe.input_spec, Net(factors))
