"""The transformer of scikit-learn: its conventions hold, and its features are those of the run that it makes."""

import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks
from sklearn.utils.validation import check_is_fitted
from test_pipeline import finished

import divcon
from divcon.errors import InputError, UsageError
from divcon.sklearn import ImageEncoder

OPTIONS: dict[str, Any] = {
    "encoder": "slim10_w8",
    "size": 16,
    "batch_size": 16,
    "hidden": 32,
    "dim": 16,
    "precision": "fp32",
}
# Those of scikit-learn's checks that give an estimator no table of numbers.
CHECKS = (
    "check_do_not_raise_errors_in_init_or_set_param",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
)


def small(**options: Any) -> ImageEncoder:
    return ImageEncoder("simclr", epochs=0.5, options=OPTIONS, **options)


@pytest.fixture
def files(photos: Path) -> list[Path]:
    return sorted(photos.glob("*/*"))


@pytest.fixture
def labels(files: list[Path]) -> list[str]:
    return [path.parent.name for path in files]


@pytest.mark.parametrize("name", CHECKS)
def test_the_estimator_keeps_the_conventions_that_scikit_learn_checks(name: str) -> None:
    check = getattr(estimator_checks, name, None)
    if check is None:
        pytest.skip("this version of scikit-learn has no such check")
    check("ImageEncoder", ImageEncoder())


def test_the_features_are_those_of_the_run_that_is_made_with_the_same_options(
    files: list[Path], tmp_path: Path
) -> None:
    fitted = small(out=tmp_path / "run", random_state=3).fit(files, ["a"] * len(files))
    features = fitted.transform(files[:5])
    assert features.dtype == np.float32 and features.shape == (5, 64)
    run = divcon.run(files[0].parents[1], out=tmp_path / "other", recipe="simclr", epochs=0.5, seed=3, **OPTIONS).folder
    for folder in (tmp_path / "run", run):
        assert np.array_equal(divcon.load(folder).embed(files[:5]).numpy(), features)
    assert (run / "base/encoder.safetensors").read_bytes() == (tmp_path / "run/base/encoder.safetensors").read_bytes()


def test_a_fit_without_a_folder_leaves_nothing_behind(
    files: list[Path], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = sorted(cache.rglob("*"))
    fitted = small().fit(files)
    assert not any(tmp_path.iterdir()) and sorted(cache.rglob("*")) == before
    assert np.isfinite(fitted.transform(files[:3])).all()


def test_an_estimator_that_is_not_fitted_says_so_and_a_clone_of_a_fitted_one_is_not(photos: Path) -> None:
    fitted = ImageEncoder(model=finished(photos)).fit([])
    check_is_fitted(fitted)
    copied = clone(fitted)
    assert copied.get_params() == fitted.get_params() and not hasattr(copied, "encoder_")
    with pytest.raises(NotFittedError):
        copied.transform([])


def test_a_trained_model_is_loaded_and_nothing_is_trained(files: list[Path], photos: Path) -> None:
    run = finished(photos)
    for model in (run, str(run / "base")):
        features = ImageEncoder(model=model, batch_size=7).fit_transform(files[:9])
        assert np.allclose(features, divcon.load(model).embed(files[:9]).numpy(), atol=1e-5)


def test_a_fitted_one_can_be_pickled_and_names_its_features(files: list[Path], photos: Path) -> None:
    fitted = ImageEncoder(model=finished(photos)).fit(files)
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.transform(files[:4]), fitted.transform(files[:4]))
    names = fitted.get_feature_names_out()
    assert len(names) == fitted.encoder_.num_features and names[1] == "imageencoder1"


def test_it_stands_before_a_classifier_in_a_pipeline(files: list[Path], labels: list[str], photos: Path) -> None:
    pipeline = make_pipeline(ImageEncoder(model=finished(photos)), LogisticRegression(max_iter=500))
    pipeline.fit(files[::2], labels[::2])
    commonest = max(map(labels.count, set(labels))) / len(labels)
    assert pipeline.score(files[1::2], labels[1::2]) > commonest


def test_a_search_over_its_parameters_trains_one_encoder_for_each(files: list[Path], labels: list[str]) -> None:
    pipeline = make_pipeline(small(), LogisticRegression(max_iter=200))
    grid = {"imageencoder__recipe": ["simclr", "moclr"]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(np.array(files, object), np.array(labels))
    assert len(search.cv_results_["params"]) == 2 and np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_params_["imageencoder__recipe"] in ("simclr", "moclr")


def test_every_kind_of_picture_can_be_learned_from(files: list[Path], tmp_path: Path) -> None:
    def opened(path: Path) -> Image.Image:
        with Image.open(path) as image:
            return image.convert("RGB")

    png = [path for path in files if path.suffix == ".png"]
    kinds = [png, [path.read_bytes() for path in png], [opened(path) for path in png]]
    features = [small().fit(images).transform(png[:3]) for images in kinds]
    assert np.array_equal(features[0], features[1])  # of the same bytes the same encoder
    gray = np.random.default_rng(0).integers(0, 255, (20, 24, 24, 1), np.uint8)
    assert small().fit_transform(gray).shape == (20, 64)


def test_a_folder_and_a_file_that_is_not_there_are_refused_before_any_work(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        small().fit(photos)
    with pytest.raises(InputError, match=r"nowhere\.png can't be read"):
        small().fit([tmp_path / "nowhere.png"])


def test_divcon_needs_no_scikit_learn() -> None:
    code = "import sys; sys.modules['sklearn'] = None; import divcon; divcon.load; divcon.list_methods()"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
