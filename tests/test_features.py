"""The features of a run: computed once, equal to those of `embed`, and compared whitened."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from test_collection import obey_permissions

import divcon
from divcon.api.collection import open_run_images
from divcon.api.features import features_of_pictures, run_features
from divcon.api.models import encoder_of, find_model
from divcon.clustering.features import Features
from divcon.curation import whitened
from divcon.errors import DataError, FaultError, InputError
from divcon.files.caches import cache_folder
from divcon.machine import measurement
from divcon.runs.folder import FEATURES_FILE, RunFolder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a collection in images/ and a run of it in run/."""
    from divcon.data.synthetic import make_collection

    folder = tmp_path_factory.mktemp("finished")
    make_collection(folder / "images", 60)
    divcon.run(folder / "images", out=folder / "run", recipe="simclr", epochs=1, size=16)
    return folder


@pytest.fixture
def work(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "work")


def features(run: Path, data: Path | None = None) -> Features:
    return run_features(run, data, cache=cache_folder())


def test_features_of_a_run_are_those_of_embed(work: Path) -> None:
    divcon.embed(work / "run", work / "images", out=work / "e.parquet")
    rows = pq.read_table(work / "e.parquet")
    _, first = np.unique(rows["picture"].to_numpy(), return_index=True)
    embedded = np.stack(rows["embedding"].to_numpy()[first])
    kept = features(work / "run", work / "images").x
    assert np.array_equal(kept, embedded.astype(np.float16))


def test_features_are_computed_once(work: Path) -> None:
    before = features(work / "run", work / "images")
    shutil.rmtree(work / "images")
    again = features(work / "run")
    assert np.array_equal(before.x, again.x)
    assert torch.equal(before.whitened(), again.whitened())


def test_damaged_features_are_computed_again(work: Path) -> None:
    before = np.array(features(work / "run", work / "images").x)
    file = RunFolder(work / "run").features / FEATURES_FILE
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    assert np.array_equal(before, features(work / "run", work / "images").x)


def test_features_of_another_encoder_are_not_used(work: Path) -> None:
    before = np.array(features(work / "run", work / "images").x)
    divcon.run(work / "images", out=work / "other", recipe="simclr", epochs=1, size=16, seed=1)
    shutil.copytree(RunFolder(work / "run").features, RunFolder(work / "other").features)
    assert not np.array_equal(before, features(work / "other").x)


ASK_TWICE_WITH_EACH_CACHE = """
import json, sys
from divcon import neighbors
from divcon.machine import measurement
measurement.measure = lambda *_: {"precision": "fp32", "channels_last": True}
run, picture, *caches = sys.argv[1:]
for cache in caches:
    for _ in range(2):
        print(json.dumps(neighbors(run, picture, k=5, cache=cache).as_json()))
"""


def test_a_verb_answers_the_same_on_a_run_that_can_not_be_written_to(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command runs as a user who is not root, with a cache that can be written and one that can't."""
    monkeypatch.setattr(measurement, "measure", lambda *_: {"precision": "fp32", "channels_last": True})
    run, caches, picture = work / "run", [work / "open", work / "closed"], min((work / "images").rglob("*.png"))
    expected = divcon.neighbors(run, picture, k=5, cache=work / "other").as_json()
    shutil.rmtree(RunFolder(run).features)
    for folder, mode in zip([*caches, run], (0o777, 0o555, 0o555), strict=True):
        folder.mkdir(exist_ok=True)
        folder.chmod(mode)
    command = [sys.executable, "-c", ASK_TWICE_WITH_EACH_CACHE, *map(str, (run, picture, *caches))]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=obey_permissions)
    run.chmod(0o755)
    assert done.returncode == 0 and not RunFolder(run).features.exists(), done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == [expected] * 4
    assert done.stderr.count("the features are not kept in the run, but in the cache") == 1 + 2
    assert done.stderr.count("the command goes on without it") == 1
    assert [len(list(cache.rglob(FEATURES_FILE))) for cache in caches] == [1, 0]


def test_features_in_the_cache_are_those_of_the_run_and_of_its_encoder_alone(
    work: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before, kept = np.array(features(work / "run").x), RunFolder(work / "run").features
    shutil.rmtree(kept)
    kept.symlink_to(work)  # nothing is written through a link that leads out of the run
    divcon.run(work / "images", out=work / "other", recipe="simclr", epochs=1, size=16, seed=1)
    RunFolder(work / "other").features.symlink_to(work)
    assert np.array_equal(before, run_features(work / "run", cache=work / "cache").x)
    assert not np.array_equal(before, run_features(work / "other", cache=work / "cache").x)
    assert np.array_equal(before, run_features(work / "run", cache=work / "cache").x)
    assert caplog.text.count("leads out of the run") == 2 and not (work / FEATURES_FILE).exists()
    assert len(list((work / "cache").rglob(FEATURES_FILE))) == 2


def test_images_that_moved_are_asked_for(work: Path) -> None:
    (work / "images").rename(work / "moved")
    divcon.run(work / "moved", out=work / "run", recipe="simclr", epochs=1, size=16)
    divcon.run(work / "moved", out=work / "new", recipe="simclr", epochs=1, size=16)
    assert len(open_run_images(work / "new", cache=cache_folder())) == len(
        open_run_images(work / "run", work / "moved", cache=cache_folder())
    )
    shutil.move(work / "moved", work / "again")
    with pytest.raises(InputError, match="type data=FOLDER"):
        open_run_images(work / "new", cache=cache_folder())


def test_other_images_are_refused(work: Path) -> None:
    next((work / "images").rglob("*.png")).unlink()
    with pytest.raises(DataError, match="does not hold the images of"):
        open_run_images(work / "run", work / "images", cache=cache_folder())


def test_a_sample_has_the_features_of_its_positions(work: Path) -> None:
    at = np.array([3, 17, 40, 41])
    images = open_run_images(work / "run", work / "images", cache=cache_folder())
    sample = encoder_of(find_model(work / "run"), images, cache=cache_folder())(at).numpy()
    whole = features(work / "run", work / "images").x[at]
    assert np.allclose(sample, whole.astype(np.float32), rtol=0.02, atol=0.02 * np.abs(whole).max())


def test_a_single_picture_has_the_features_that_it_has_in_the_collection(work: Path) -> None:
    images = open_run_images(work / "run", work / "images", cache=cache_folder())
    name = images.names(np.array([7]))[0].decode()
    one = features_of_pictures(find_model(work / "run"), [work / "images" / name], cache=cache_folder())
    kept = features(work / "run", work / "images")
    cosines = kept.comparable(one) @ kept.whitened().T
    assert int(cosines.argmax()) == 7 and float(cosines.max()) > 0.99


def test_whitened_features_have_length_one_and_no_preferred_direction() -> None:
    x = np.random.default_rng(0).normal(size=(4000, 6)) * [9, 5, 5, 3, 3, 3] + 5
    white = Features.of(x.astype(np.float16)).whitened().numpy()
    assert np.allclose(np.linalg.norm(white, axis=1), 1, atol=1e-5)
    variances = np.linalg.eigvalsh(np.cov(white.T))
    assert variances.max() / variances.min() < 1.3


def test_whitened_rows_need_no_folder_that_can_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    x = Features.of(np.random.default_rng(0).normal(size=(300, 6)).astype(np.float16))
    expected = whitened.whitened_rows(x, tmp_path)
    monkeypatch.setattr(whitened, "IN_MEMORY", 0)
    monkeypatch.setattr(Path, "mkdir", refuse)
    rows = whitened.whitened_rows(x, tmp_path / "closed")
    assert isinstance(rows, np.memmap) and np.array_equal(rows, expected)


def test_features_beyond_float16_are_refused() -> None:
    x = np.ones((9, 2), np.float16)
    x[4, 1] = np.inf
    with pytest.raises(FaultError, match="not finite"):
        Features.of(x)
