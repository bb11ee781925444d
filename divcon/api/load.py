"""Load a trained encoder."""

from pathlib import Path

from ..train.loaded_encoder import Encoder
from .entry import runs_alone
from .models import find_model


@runs_alone
def load(model: str | Path) -> Encoder:
    """Return the encoder of a run or stage folder, in eval mode: images [B, 3, H, W] -> features [B, num_features].

    The images are normalized: the encoder's `preprocess` makes such an image of a picture, and its `embed(pictures)` does both,
    for paths, images of Pillow, arrays and tensors. `model` may also be "random:RUN" or "random:NAME", for random weights.
    """
    trained = find_model(model)
    return Encoder(trained.net.encoder, trained.input_spec).eval()
