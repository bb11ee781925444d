"""What the encoder of a run makes of a sample of its images, for the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float16, Int64

from .. import machine
from ..clustering.features import Features
from ..clustering.shares import evenly
from ..clustering.validity import silhouette
from ..data.images import Images
from ..data.pixels.pixel_cache import open_pixels, pixel_folder
from ..data.pixels.pixels import DecodedPixels, Pixels
from ..evals.expert_check import ExpertCheck, agreement_on
from ..evals.unlabeled import rankme
from ..log import share_of
from ..nets.trained import Trained
from ..reports.kept import Quality
from ..train.collapse import spread_and_effective_rank
from ..train.encode import encode
from .encoder_check import check_input_size

AGREEMENT_IMAGES = 1000  # whose neighbors by two views are compared
SILHOUETTE_IMAGES = 1500  # for their distances are all in memory
FEWEST = 20  # images, below which neighbors say nothing

Positions = Int64[np.ndarray, " m"]


@dataclass(frozen=True)
class Encoding:
    """Encodes images of a run with the encoders of its stages."""

    images: Images
    machine: machine.Machine
    cache: Path
    cache_gb: float

    def features(self, model: Trained, positions: Positions) -> Float16[np.ndarray, "m d"]:
        """Return the pooled features of the images at some positions."""
        with self.machine.use():
            check_input_size(model)
            x = encode(model.net, model.input_spec, self._pixels(model), self.machine, positions=positions)
        return x.numpy().astype(np.float16)

    def agreement(self, model: Trained, positions: Positions) -> float:
        """Return the agreement (0..1) of the neighbors by two random views of the images."""
        check = ExpertCheck(images=AGREEMENT_IMAGES)
        with self.machine.use():
            return agreement_on(model, self._pixels(model), positions, self.machine, check)

    def _pixels(self, model: Trained) -> Pixels:
        """The pixels of the images: from the cache if a run has left them there, else decoded, for a sample needs few."""
        side = model.input_spec.short_side
        if pixel_folder(self.images.whole(), side, self.cache).is_dir():
            return open_pixels(
                self.images, side, cache=self.cache, cache_gb=self.cache_gb, workers=self.machine.workers
            )
        return DecodedPixels(self.images, side, self.machine.workers)


@dataclass(frozen=True)
class SeenSample:
    """The features of the sample, and the model that gave them; with `whiten` they are compared whitened."""

    positions: Positions
    x: Float16[np.ndarray, "m d"]
    model: Trained
    whiten: bool = True

    @cached_property
    def features(self) -> Features:
        return Features.of(self.x, self.model.whitening) if self.whiten else Features(self.x, None)

    def quality(self, labels: Positions, encoding: Encoding, models: Sequence[tuple[str, Trained]]) -> Quality:
        """Return the measures without labels. `models` are those whose views are compared, by the names of their stages."""
        raw = torch.from_numpy(self.x.astype(np.float32))
        spread, _ = spread_and_effective_rank(raw)
        few = evenly(len(self.x), SILHOUETTE_IMAGES)
        apart = silhouette(self.features.compared(few).numpy(), labels[few])
        compared = self.positions[evenly(len(self.x), AGREEMENT_IMAGES)]
        enough = len(compared) >= FEWEST
        agreement = dict[str, float]()
        for i, (name, model) in enumerate(models if enough else ()):
            with share_of(i, len(models)):
                agreement[name] = round(encoding.agreement(model, compared), 4)
        return Quality(
            len(self.x),
            self.x.shape[1],
            round(rankme(raw), 2),
            round(spread, 4),
            None if np.isnan(apart) else round(apart, 4),
            agreement,
            len(compared),
        )
