"""The whitening of an encoder: fitted without labels, saved beside the weights, noticed when damaged."""

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from sklearn.covariance import ledoit_wolf
from test_pipeline import finished

import divcon
from divcon.api.features import run_features
from divcon.api.models import encoder_of, find_model
from divcon.api.scoring import Scoring
from divcon.clustering.clusters import Clusters
from divcon.config import to_json_value
from divcon.data.images import open_images
from divcon.data.labeled.labeled import open_labeled
from divcon.errors import DamagedError, FaultError
from divcon.evals.split import train_test_split
from divcon.evals.tasks.registry import chosen_tasks
from divcon.files.integrity import digest, read_json, sha256, write_json
from divcon.machine import Precision, choose
from divcon.nets import whitening as whitening_file
from divcon.nets.encoder import EncoderSpec
from divcon.nets.moments import Moments
from divcon.nets.net import Layer
from divcon.nets.trained import InputSpec, Trained, untrained
from divcon.nets.whitening import Whitening
from divcon.reports.kept import load_kept
from divcon.runs.evals import find_scores
from divcon.runs.stage import StageContext
from divcon.stages import cluster
from divcon.stages.cluster import Divide, divide, fit_centroids


def skewed(n: int, d: int, seed: int = 0) -> NDArray[np.float64]:
    """Features of very unequal directions, far from the origin, in an order that drifts."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) @ (np.diag(np.geomspace(0.05, 3, d)) @ np.linalg.qr(rng.normal(size=(d, d)))[0])
    return x + 5.0 + np.linspace(0, 2, n)[:, None]


# the fit


@pytest.mark.parametrize("size", [1, 7, 64, 300])
def test_moments_of_blocks_are_those_of_all_rows(size: int) -> None:
    x = skewed(300, 9)
    mean, covariance, fourth = Moments.of(torch.from_numpy(x).split(size)).central()
    assert np.allclose(mean, x.mean(0)) and np.allclose(covariance, np.cov(x.T, bias=True))
    assert fourth == pytest.approx(np.mean(np.square(np.square(x - x.mean(0)).sum(1))), rel=1e-9)


@pytest.mark.parametrize(("n", "d"), [(400, 12), (20, 40)])
def test_whitened_features_have_the_identity_as_their_shrunk_covariance(n: int, d: int) -> None:
    x = skewed(n, d)
    found = Whitening.fit(torch.from_numpy(x))
    covariance, shrinkage = ledoit_wolf(x)
    assert found.shrinkage == pytest.approx(shrinkage, rel=1e-6)
    projection = found.projection.double().numpy()
    assert np.allclose(projection.T @ covariance @ projection, np.eye(d), atol=1e-4)
    scales = 1 / np.linalg.norm(projection, axis=0)
    assert (np.diff(scales) <= 1e-6 * scales[0]).all()  # the largest variance first
    assert (projection[np.abs(projection).argmax(0), np.arange(d)] > 0).all()


def test_a_whitening_of_many_features_and_few_images_makes_nothing_large() -> None:
    rng = np.random.default_rng(0)
    x = torch.from_numpy(np.maximum(0, rng.normal(size=(40, 512))) * np.geomspace(1e-6, 1, 512))
    x[:, :100] = 0.0  # dead ones
    found = Whitening.fit(x[:20])
    assert 0 < found.shrinkage <= 1
    assert float(found(x[20:]).square().mean()) < 20  # of images that it was not fitted on
    assert float(found(x[20:]).square().mean()) > 0.05


def test_copies_of_an_image_change_neither_mean_nor_size_of_its_whitened_features() -> None:
    x = torch.from_numpy(skewed(100, 6))
    once, thrice = Whitening.fit(x), Whitening.fit(x.repeat(3, 1))
    assert torch.allclose(once.mean, thrice.mean) and thrice.shrinkage < once.shrinkage


def test_features_that_are_not_finite_are_refused() -> None:
    x = torch.ones(8, 3)
    x[5, 1] = float("nan")
    with pytest.raises(FaultError, match="not finite"):
        Whitening.fit(x)


# as a layer


@pytest.mark.parametrize("autocast", [False, True])
def test_the_layer_of_a_network_gives_the_whitened_features_under_autocast_too(autocast: bool) -> None:
    x = torch.from_numpy(skewed(200, 16)).float()
    found = Whitening.fit(x)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        white = found.layer(16)(x)
    assert white.dtype == torch.float32 and torch.allclose(white, found(x), atol=2e-4)
    assert not found.layer(16).state_dict()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_in_another_precision_keeps_the_numbers_of_its_whitening(dtype: torch.dtype) -> None:
    found = Whitening.fit(torch.from_numpy(skewed(200, 16)))
    network = torch.nn.Sequential(torch.nn.Identity(), found.layer(16)).to(dtype)
    x = torch.from_numpy(skewed(20, 16)).to(dtype)
    white = network(x)
    assert white.dtype == dtype and torch.equal(network[1].projection, found.projection)
    assert torch.allclose(white.float(), found(x), rtol=0.01, atol=0.02)


# on disk


def test_a_saved_whitening_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    found = Whitening.fit(torch.from_numpy(skewed(60, 8)))
    found.save(tmp_path / "file")
    again = Whitening.load(tmp_path / "file")
    assert torch.equal(found.mean, again.mean) and torch.equal(found.projection, again.projection)
    assert found.shrinkage == again.shrinkage


def test_each_stage_has_the_whitening_of_its_own_images(photos: Path, cache: Path) -> None:
    run, images = finished(photos), open_images(photos, cache=cache)
    members = Clusters.load(run / "clusters").members()
    for stage, own in {"student": images, "base": images, "experts/1": images.subset(members[1])}.items():
        model = Trained.load(run / stage)
        x = encoder_of(model, own, cache=cache).all()
        assert model.whitening is not None and model.whitening.shrinkage == pytest.approx(
            Whitening.fit(x).shrinkage, rel=0.02
        )
        assert torch.allclose(model.whitening.mean, x.mean(0), atol=1e-2 * float(x.abs().max()))
        assert "whitening.safetensors" in read_json(run / stage / "stage.json")["sha256"]


def test_an_encoder_of_an_older_run_has_no_whitening_and_the_fingerprint_that_it_had(tmp_path: Path) -> None:
    untrained(EncoderSpec("slim10_w8"), InputSpec(16)).save(tmp_path)
    record = read_json(tmp_path / "encoder.json")
    model = Trained.load(tmp_path)
    assert "whitening" not in record and model.whitening is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoder.json", "encoder.safetensors"]
    assert model.fingerprint == digest(json.dumps(record, sort_keys=True))


def test_an_encoder_that_is_saved_again_keeps_its_whitening(photos: Path, tmp_path: Path) -> None:
    model = Trained.load(finished(photos) / "student")
    model.save(tmp_path)
    file = "whitening.safetensors"
    assert (tmp_path / file).read_bytes() == (finished(photos) / "student" / file).read_bytes()
    assert Trained.load(tmp_path).fingerprint == model.fingerprint


@pytest.mark.parametrize("how", ["flipped", "gone", "another's"])
def test_a_whitening_that_is_damaged_or_anothers_is_noticed(photos: Path, tmp_path: Path, how: str) -> None:
    model = Path(shutil.copytree(finished(photos) / "student", tmp_path / "model"))
    file = model / "whitening.safetensors"
    if how == "flipped":
        data = file.read_bytes()
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif how == "gone":
        file.unlink()
    else:
        shutil.copy(finished(photos) / "base/whitening.safetensors", file)
    with pytest.raises(DamagedError, match=r"whitening\.safetensors is damaged"):
        _ = find_model(model).whitening


HOSTILE = {
    "no projection": {"mean": torch.zeros(3)},
    "other shapes": {"mean": torch.zeros(3), "projection": torch.zeros(3, 4), "shrinkage": torch.zeros(())},
    "not finite": {"mean": torch.zeros(2), "projection": torch.full((2, 2), torch.nan), "shrinkage": torch.zeros(())},
    "a shrinkage of many numbers": {"mean": torch.zeros(2), "projection": torch.eye(2), "shrinkage": torch.zeros(4)},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_strangers_whitening_with_a_hash_that_fits_is_refused(photos: Path, tmp_path: Path, name: str) -> None:
    model = Path(shutil.copytree(finished(photos) / "student", tmp_path / "model"))
    save_file(HOSTILE[name], model / "whitening.safetensors")
    record = read_json(model / "encoder.json")
    write_json(model / "encoder.json", {**record, "whitening": sha256(model / "whitening.safetensors")})
    with pytest.raises(DamagedError, match=r"whitening\.safetensors can't be read"):
        _ = find_model(model).whitening


def test_a_whitening_of_another_encoder_does_not_fit() -> None:
    found = Whitening.fit(torch.from_numpy(skewed(30, 4)))
    with pytest.raises(DamagedError, match="a whitening of 4 features does not fit an encoder with 5"):
        found(torch.zeros(2, 5))


def test_a_training_ends_without_a_whitening_where_features_are_not_finite(
    photos: Path,
    tmp_path: Path,
    tiny: dict[str, object],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(blocks: object) -> Whitening:
        raise FaultError("the features are not finite, so they can't be whitened")

    monkeypatch.setattr(whitening_file.Whitening, "fit_blocks", refuse)
    of_moclr: dict[str, Any] = {name: value for name, value in tiny.items() if not name.startswith("clusters.")}
    ran = divcon.run(photos, out=tmp_path / "run", recipe="moclr", epochs=1, **of_moclr)
    assert "saved without a whitening" in caplog.text
    assert find_model(ran.folder).whitening is None


# in the verbs


def without_whitening(run: Path) -> Path:
    """The run as an older version would have left it."""
    for file in run.rglob("encoder.json"):
        write_json(file, {name: value for name, value in read_json(file).items() if name != "whitening"})
        (file.parent / "whitening.safetensors").unlink()
    return run


@pytest.fixture
def run(photos: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished(photos), tmp_path / "run"))


def embedded(model: Path, photos: Path, **options: Any) -> NDArray[np.float32]:
    out = model.with_name("e.parquet")
    divcon.embed(model, photos, out=out, **options)
    rows = pq.read_table(out)
    _, first = np.unique(rows["picture"].to_numpy(), return_index=True)
    return np.stack(rows["embedding"].to_numpy()[first])


def test_embeddings_are_whitened_and_raw_where_that_is_asked_for(photos: Path, cache: Path, run: Path) -> None:
    model = find_model(run)
    raw = encoder_of(model, open_images(photos, cache=cache), cache=cache).all()
    assert model.whitening is not None
    assert np.array_equal(embedded(run, photos), model.whitening(raw).numpy())
    assert np.array_equal(embedded(run, photos, whiten=False), raw.numpy())
    hidden = encoder_of(model, open_images(photos, cache=cache), layer="hidden", cache=cache).all()
    assert np.array_equal(embedded(run, photos, layer="hidden"), hidden.numpy())


def test_a_loaded_encoder_gives_whitened_features_and_its_weights_stay_those_of_the_network(
    photos: Path, run: Path
) -> None:
    pictures = sorted(photos.glob("*/*"))[:6]
    encoder, raw = divcon.load(run), divcon.load(run, whiten=False)
    whitening = find_model(run).whitening
    assert whitening is not None and raw.whitening is None
    white = whitening(raw.embed(pictures))
    assert torch.allclose(encoder.embed(pictures), white, atol=1e-3 * float(white.abs().max()))
    assert encoder.state_dict().keys() == raw.state_dict().keys()
    encoder.load_state_dict(raw.state_dict())
    again = pickle.loads(pickle.dumps(encoder))
    assert torch.equal(again.embed(pictures), encoder.embed(pictures))
    assert torch.allclose(encoder.double().embed(pictures), white, atol=1e-3 * float(white.abs().max()))


def test_an_older_encoder_gives_raw_features_and_says_so(
    photos: Path, run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raw = embedded(run, photos, whiten=False)
    caplog.set_level("INFO")
    assert np.array_equal(embedded(without_whitening(run), photos), raw)
    assert "this encoder has no whitening" in caplog.text
    assert divcon.load(run).whitening is None


@pytest.mark.parametrize("older", [False, True])
def test_features_are_kept_raw_and_a_whitening_beside_them_only_for_an_older_encoder(
    photos: Path, cache: Path, run: Path, older: bool
) -> None:
    raw = embedded(run, photos, whiten=False)
    if older:
        without_whitening(run)
    kept = run_features(run, cache=cache)
    files = sorted(path.name for path in (run / "features").iterdir())
    assert files == ["MANIFEST.json", "features.npy", *(["whitening.safetensors"] if older else [])]
    own = Whitening.fit(kept.x) if older else find_model(run).whitening
    assert own is not None and kept.whitening is not None and torch.equal(kept.whitening.projection, own.projection)
    assert np.array_equal(kept.x, raw.astype(np.float16))
    assert run_features(run, cache=cache, whiten=False).whitening is None
    assert older or divcon.status(run, verify=True).damaged == []


@pytest.mark.parametrize("whiten", [False, True])
def test_neighbors_are_those_of_a_slow_loop_whitened_and_raw(
    photos: Path, cache: Path, run: Path, whiten: bool
) -> None:
    x = run_features(run, cache=cache).x.astype(np.float64)
    whitening = find_model(run).whitening
    assert whitening is not None
    white = whitening(x).double().numpy() if whiten else x
    white /= np.linalg.norm(white, axis=1, keepdims=True)
    names = open_images(photos, cache=cache).names(np.arange(len(x)))
    found = divcon.neighbors(run, photos / names[3].decode(), k=5, whiten=whiten).found[0]
    cosines = white @ white[3]
    cosines[3] = -2
    assert [near.position for near in found.neighbors] == np.argsort(-cosines)[:5].tolist()
    assert np.allclose([near.cosine for near in found.neighbors], np.sort(cosines)[::-1][:5], atol=2e-3)


@pytest.mark.parametrize("whiten", [False, True])
def test_picks_and_duplicates_compare_features_as_they_are_asked_to(
    photos: Path, cache: Path, run: Path, whiten: bool
) -> None:
    x = run_features(run, cache=cache, whiten=whiten).compared().half().double().numpy()
    near = x @ x.T
    np.fill_diagonal(near, -1)
    threshold = float(np.sort(near.max(1))[-20])
    found = divcon.duplicates(run, threshold=threshold, whiten=whiten)
    members = {image.position for group in found.groups for image in [group.keep, *group.others]}
    assert abs(len(members) - int((near.max(1) >= threshold).sum())) <= 2  # cosines at the threshold itself
    picked = {how: divcon.pick(run, n=10, how=how, whiten=whiten).picked for how in ("diverse", "odd")}
    other = {how: divcon.pick(run, n=10, how=how, whiten=not whiten).picked for how in ("diverse", "odd")}
    assert picked["odd"] == other["odd"] and picked["diverse"] != other["diverse"]


# scores and clusters


def test_neighbors_are_scored_whitened_with_raw_ones_beside_and_a_linear_classifier_stays_as_it_was(
    photos: Path, run: Path
) -> None:
    white, raw = divcon.evaluate(run, photos), divcon.evaluate(run, photos, whiten=False)
    older = divcon.evaluate(without_whitening(run), photos)
    assert white.knn is not None and raw.knn is not None
    assert white.knn.raw == raw.knn == older.knn and raw.knn.raw is None
    assert white.linear == raw.linear == older.linear
    assert "raw" not in raw.as_json()["knn"] and "raw" in white.as_json()["knn"]  # type: ignore[operator]


def test_the_whitened_score_is_that_of_a_slow_loop(photos: Path, cache: Path, run: Path) -> None:
    labels = open_labeled(photos, cache=cache)
    train, test, _ = train_test_split(labels, 0)
    model = find_model(run)
    assert model.whitening is not None
    x = model.whitening(encoder_of(model, labels.images, cache=cache).all()).double().numpy()
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    hits = 0
    for i in test:
        cosines = x[train] @ x[i]
        near = np.argsort(-cosines)[:20]
        votes = np.bincount(labels.labels[train][near], np.exp(cosines[near] / 0.07))
        hits += int(votes.argmax() == labels.labels[i])
    scored = divcon.evaluate(run, photos, tasks="knn").knn
    assert scored is not None and scored.top1 == pytest.approx(hits / len(test), abs=1.5 / len(test))


def test_kept_scores_are_those_of_the_features_that_were_asked_for(photos: Path, cache: Path, run: Path) -> None:
    shutil.rmtree(run / "evals", ignore_errors=True)
    data = open_labeled(photos, cache=cache)
    for whiten in (True, False):
        answer = divcon.evaluate(run, photos, tasks="knn", whiten=whiten)
        key = Scoring(data=data, tasks=chosen_tasks("knn", "classes"), whiten=whiten, cache=cache).key
        assert find_scores(run, "student", key) == replace(answer, model=str(run))
    assert len(list((run / "evals").iterdir())) == 2


def test_a_comparison_with_an_older_encoder_is_by_raw_neighbors_and_says_so(photos: Path, run: Path) -> None:
    newer = divcon.compare([finished(photos)], labels=photos)
    mixed = divcon.compare([finished(photos), without_whitening(run)], labels=photos)
    assert not any("no whitening" in warning for warning in newer.warnings)
    assert any("by the raw features of all" in warning for warning in mixed.warnings)
    assert mixed.runs[0].knn == mixed.runs[1].knn != newer.runs[0].knn


@pytest.mark.parametrize("whiten", [True, False])
@pytest.mark.parametrize("layer", ["pool", "hidden"])
def test_clusters_of_the_pool_are_those_of_whitened_features_and_others_stay(
    photos: Path, cache: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: Layer, whiten: bool
) -> None:
    base, images, clustered = Trained.load(run / "base"), open_images(photos, cache=cache), []

    def record(x: NDArray[np.float16], recipe: Divide, precision: Precision) -> tuple[torch.Tensor, float]:
        clustered.append(np.array(x))
        return fit_centroids(x, recipe, precision)

    monkeypatch.setattr(cluster, "fit_centroids", record)
    work = StageContext(tmp_path / "clusters", "clusters", choose(cache), cache)
    work.folder.mkdir()
    recipe = Divide(k=3, layer=layer, smallest=1, whiten=whiten)
    divide(work, base, images, recipe)
    expected = encoder_of(base, images, layer=layer, cache=cache).all()
    if layer == "pool" and whiten:
        assert base.whitening is not None
        expected = base.whitening(expected)
    assert np.allclose(clustered[0], expected.numpy(), atol=0.02 * float(expected.abs().max()))
    assert ("whiten" in to_json_value(recipe)) == (
        not whiten
    )  # runs that were begun before there was such an option go on


def test_a_report_compares_features_as_it_is_asked_to(photos: Path, run: Path) -> None:
    kept = {}
    for whiten in (True, False, False):
        divcon.report(run, whiten=whiten)
        loaded = load_kept(run)
        assert loaded is not None and loaded.record.quality is not None and loaded.record.whiten == whiten
        kept[whiten] = loaded.record.quality.silhouette
    assert kept[True] != kept[False]
