"""Scores and embeddings of a model, given by name, path or object."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from test_pipeline import finished, typed
from torch import nn

import divcon
from divcon.api.models import encoder_of, find_model
from divcon.data.images import open_images
from divcon.data.labeled.labeled import open_labeled
from divcon.errors import InputError
from divcon.evals.split import train_test_split
from divcon.files.caches import cache_folder


@pytest.fixture
def divided(photos: Path, tmp_path: Path) -> Path:
    """The photos in folders train/ and test/: every fourth image of a class is a test image."""
    for kind in photos.iterdir():
        for i, path in enumerate(sorted(kind.iterdir())):
            place = tmp_path / "divided" / ("train" if i % 4 else "test") / kind.name / "deep" / path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
    return tmp_path / "divided"


def test_an_evaluation_says_what_it_scored_and_how_well(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(finished(photos))
    assert typed(["eval", run, str(photos), "seed=3", "--json"]) == 0
    account: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert account["model"] == run and account["split_seed"] == 3 and account["dropped_classes"] == []
    assert (account["images"], account["classes"]) == (160, len(list(photos.iterdir())))
    assert account["knn"]["top1"] == account["knn"]["k20"]
    for score in (account["knn"]["k20"], account["knn"]["k200"], account["linear"]["top1"]):
        assert 0 <= score <= 1
    assert divcon.evaluate(run, photos, seed=3, tasks="knn").knn.as_json() == account["knn"]
    assert "linear" not in divcon.evaluate(run, photos, tasks="knn").as_json()


def test_a_trained_model_knows_more_than_the_commonest_class(photos: Path) -> None:
    sizes = [len(list(kind.iterdir())) for kind in photos.iterdir()]
    commonest = max(sizes) / sum(sizes)
    scores = [divcon.evaluate(finished(photos), photos, seed=seed, tasks="linear").linear.top1 for seed in range(3)]
    assert np.mean(scores) > commonest + 0.05


def test_a_class_of_one_image_is_dropped_and_counted(photos: Path, tmp_path: Path) -> None:
    labeled = shutil.copytree(photos, tmp_path / "labeled")
    (labeled / "lonely").mkdir()
    picture = next((labeled / "disc").iterdir())
    picture.rename(labeled / "lonely" / picture.name)
    account = divcon.evaluate(finished(photos), labeled, tasks="knn")
    assert account.dropped_classes == ["lonely"]
    assert (account.images, account.classes) == (159, len(list(photos.iterdir())))


def test_an_image_without_a_folder_has_no_class(photos: Path, cache: Path, tmp_path: Path) -> None:
    labeled = shutil.copytree(photos, tmp_path / "labeled")
    picture = next((labeled / "disc").iterdir())
    picture.rename(labeled / picture.name)
    data = open_labeled(labeled, cache=cache)
    assert len(data.images) == len(data.labels) == 159 and sorted(data.classes) == data.classes


def test_a_split_is_stratified_seeded_and_covers_every_image(photos: Path, cache: Path) -> None:
    data = open_labeled(photos, cache=cache)
    train, test, dropped = train_test_split(data, 0)
    assert sorted([*train, *test]) == list(range(160)) and dropped == []
    for label in range(len(data.classes)):
        n = int((data.labels == label).sum())
        assert abs(int((data.labels[train] == label).sum()) - 0.7 * n) <= 1 and (data.labels[test] == label).any()
    assert not np.array_equal(train, train_test_split(data, 1)[0]) and np.array_equal(
        train, train_test_split(data, 0)[0]
    )


def test_a_folder_with_train_and_test_is_split_by_them(photos: Path, cache: Path, divided: Path) -> None:
    data = open_labeled(divided, cache=cache)
    train, test, _ = train_test_split(data, 0)
    names = data.images.names(np.arange(len(data.images)))
    assert {names[i].split(b"/")[0] for i in train} == {b"train"} and {names[i].split(b"/")[0] for i in test} == {
        b"test"
    }
    assert data.classes == sorted(kind.name for kind in photos.iterdir())
    account = divcon.evaluate(finished(photos), divided, tasks="knn")
    assert (account.train, account.test) == (
        len(list(divided.glob("train/*/*/*"))),
        len(list(divided.glob("test/*/*/*"))),
    )


def weights(model: str) -> dict[str, torch.Tensor]:
    return find_model(model).net.encoder.state_dict()


def test_random_of_a_run_is_its_architecture_untrained(photos: Path) -> None:
    run = finished(photos)
    untrained, trained = weights(f"random:{run}"), weights(str(run))
    assert {name: t.shape for name, t in untrained.items()} == {name: t.shape for name, t in trained.items()}
    assert not torch.equal(untrained["conv1.weight"], trained["conv1.weight"])
    assert torch.equal(untrained["conv1.weight"], weights(f"random:{run}")["conv1.weight"])
    assert find_model(f"random:{run}").input_spec == find_model(run).input_spec


def test_random_of_a_name_is_that_encoder(photos: Path) -> None:
    encoder = divcon.load("random:slim10")
    assert isinstance(encoder, nn.Module) and encoder.num_features == 128
    assert 0 <= divcon.evaluate("random:slim10", photos, tasks="knn").knn.top1 <= 1


def test_a_loaded_encoder_is_a_module_in_eval_mode(photos: Path) -> None:
    for model in (finished(photos), finished(photos) / "base", finished(photos) / "experts" / "0"):
        encoder = divcon.load(model)
        assert isinstance(encoder, nn.Module) and not encoder.training
        x = torch.randn(3, 3, 16, 16)
        assert encoder(x).shape == (3, encoder.num_features)
        assert torch.equal(encoder(x)[:1], encoder(x[:1])) or torch.allclose(encoder(x)[:1], encoder(x[:1]), atol=1e-5)


def test_a_run_that_is_not_done_names_what_can_be_loaded(photos: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished(photos), tmp_path / "run")
    divcon.redo(run, "student")
    with pytest.raises(InputError, match="/base"):
        divcon.load(run)
    assert divcon.load(run / "base").num_features == 64


def test_embeddings_are_what_the_model_sees_of_each_image(photos: Path, cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "photos.parquet"
    wrote = divcon.embed(finished(photos), photos, out=out)
    assert (wrote.files, wrote.pictures) == (160, 160)
    table = pq.read_table(out)
    assert table.column_names == ["path", "path_bytes", "picture", "embedding"]
    assert set(table["path"].to_pylist()) == {str(path.relative_to(photos)) for path in photos.glob("*/*")}
    images, model = open_images(photos, cache=cache), find_model(finished(photos))
    expected = encoder_of(model, images, cache=cache_folder()).all()
    assert np.array_equal(np.array(table["embedding"].to_pylist(), np.float32), expected.numpy())
    assert [name.decode() for name in images.names(np.arange(160))] == table["path"].to_pylist()
    assert len({tuple(row) for row in expected.tolist()}) > 100


@pytest.mark.parametrize(("place", "width"), [("pool", 64), ("hidden", 32), ("projection", 16)])
def test_a_model_is_looked_at_from_three_places(photos: Path, cache: Path, place: Any, width: int) -> None:
    model, images = find_model(finished(photos) / "base"), open_images(photos, cache=cache)
    seen = encoder_of(model, images, layer=place, cache=cache).all()
    assert seen.shape == (160, width) and torch.isfinite(seen).all()


def test_embeddings_are_the_same_bytes_each_time(photos: Path, tmp_path: Path) -> None:
    for name, threads in (("a", 1), ("b", 3)):
        divcon.embed(finished(photos), photos, out=tmp_path / f"{name}.parquet", workers=threads)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
