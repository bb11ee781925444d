"""Load a trained encoder."""

from pathlib import Path

from ..train.pretrained import Encoder
from .entry import runs_alone
from .models import find_model


@runs_alone
def load(model: str | Path) -> Encoder:
    """The encoder: normalized images [B, 3, H, W] -> features [B, num_features], in eval mode; its `preprocess` makes such an
    image of a picture, as `embed` does."""
    trained = find_model(model)
    return Encoder(trained.net.encoder, trained.input_spec).eval()
