"""Encoders as transformers of scikit-learn, which `pip install 'divcon[baselines]'` installs.

    from divcon.sklearn import ImageEncoder
    model = make_pipeline(ImageEncoder(epochs=60), LogisticRegression())
    model.fit(files, labels)  # the labels are for the classifier: the encoder learns without them

Nothing else in divcon imports this file.
"""

import tempfile
from pathlib import Path
from typing import Any, Self

import numpy as np
from jaxtyping import Float32
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .api.load import load
from .api.run import run
from .train.loaded_encoder import Encoder, Pictures
from .train.pictures import write_pictures


class ImageEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Learns an encoder from images without labels, and turns images into its features.

    Images are paths, bytes, images of Pillow, arrays or tensors; a folder is none, as it has no order. `recipe`, `epochs` and
    `random_state` (a whole number) are options of `divcon.run`; `options` has any others, as in {"encoder": "resnet18",
    "clusters.k": 10}. `out` is the folder of the run. Without it the run is in a temporary folder, and nothing is left there.
    With `model`, a trained run or stage, `fit` trains nothing. `batch_size` is that of `transform`. Features are whitened, which
    helps to compare them; a linear classifier takes raw ones as well (`whiten=False`).

    After `fit`, `encoder_` is the encoder (`divcon.load`).
    """

    encoder_: Encoder

    def __init__(
        self,
        recipe: str = "dnc",
        *,
        epochs: float = 60,
        random_state: int = 0,
        options: dict[str, Any] | None = None,
        out: str | Path | None = None,
        model: str | Path | None = None,
        batch_size: int = 64,
        whiten: bool = True,
    ) -> None:
        self.recipe = recipe
        self.epochs = epochs
        self.random_state = random_state
        self.options = options
        self.out = out
        self.model = model
        self.batch_size = batch_size
        self.whiten = whiten

    def fit(self, images: Pictures, y: object = None) -> Self:
        """Train an encoder on images, or load `model`. The labels `y` are not looked at.

        With `out`, a run there of the same images and options goes on, and one that is finished is loaded.
        """
        self.encoder_ = self._trained(images) if self.model is None else load(self.model, whiten=self.whiten)
        return self

    def transform(self, images: Pictures) -> Float32[np.ndarray, "n d"]:
        """Return the features of images, in their order."""
        check_is_fitted(self, "encoder_")
        features: Float32[np.ndarray, "n d"] = self.encoder_.embed(images, batch_size=self.batch_size).numpy()
        return features

    @property
    def _n_features_out(self) -> int:
        """The number of features, for `get_feature_names_out`."""
        return self.encoder_.num_features

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.no_validation = True  # images are no table
        tags.input_tags.two_d_array = False
        return tags

    def _trained(self, images: Pictures) -> Encoder:
        with tempfile.TemporaryDirectory() as work:
            folder = write_pictures(images, Path(work) / "images")
            options = (
                {"cache": Path(work) / "cache", **(self.options or {})} if self.out is None else self.options or {}
            )
            out = Path(work) / "run" if self.out is None else self.out
            run(folder, out=out, recipe=self.recipe, epochs=self.epochs, seed=self.random_state, **options)
            return load(out, whiten=self.whiten)
