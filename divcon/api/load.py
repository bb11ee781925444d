"""Load a trained encoder."""

from pathlib import Path

from ..train.loaded_encoder import Encoder
from .entry import runs_alone
from .models import find_model, whitening_of


@runs_alone
def load(model: str | Path, *, whiten: bool = True) -> Encoder:
    """Return the encoder of a run or stage folder, in eval mode: images [B, 3, H, W] -> features [B, num_features].

    The images are normalized: the encoder's `preprocess` makes such an image of a picture, and its `embed(pictures)` does both,
    for paths, images of Pillow, arrays and tensors. Features are whitened by a last linear layer, `encoder.whitening`, unless
    whiten=False or the encoder has no whitening. `model` may also be "random:RUN" or "random:NAME", for random weights.
    """
    trained = find_model(model)
    return Encoder(trained.net.encoder, trained.input_spec, whitening_of(trained, whiten)).eval()
