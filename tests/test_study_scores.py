"""The scores of studies, each against a slow way to find it; the collections' labels and bytes."""

from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.covariance import ledoit_wolf
from sklearn.linear_model import LogisticRegression

from divcon.data.images import open_images
from divcon.data.labeled.labeled import open_labeled
from divcon.evals.linear import linear
from divcon.nets.whitening import Whitening
from studies.instrument import piles, scores, table
from studies.instrument.piles import Labels, labeled, leaf, top, within


def skewed(n: int, d: int, seed: int = 0) -> NDArray[np.float64]:
    """Features of very unequal directions, far from the origin."""
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(n, d)) @ (np.diag(np.geomspace(0.05, 3, d)) @ np.linalg.qr(rng.normal(size=(d, d)))[0]) + 5.0
    )


@pytest.mark.parametrize(("n", "d"), [(400, 12), (50, 8), (20, 40)])
def test_whitening_is_that_of_a_slow_loop_with_scikit_learns_shrinkage(n: int, d: int) -> None:
    x = skewed(n, d)
    found = Whitening.fit(torch.from_numpy(x))
    covariance, shrinkage = ledoit_wolf(x)
    assert found.shrinkage == pytest.approx(shrinkage, rel=1e-9)
    inverse = np.linalg.inv(covariance)
    white = found(torch.from_numpy(x)).double().numpy()
    for i in range(0, n, 7):
        for j in range(0, n, 5):  # the Mahalanobis product, whatever the rotation
            expected = (x[i] - x.mean(0)) @ inverse @ (x[j] - x.mean(0))
            assert white[i] @ white[j] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_whitening_stands_features_that_are_all_alike_or_dead() -> None:
    x = torch.from_numpy(skewed(60, 6)).float()
    x[:, 2] = 1.0
    for features in (x, torch.ones(5, 3), x[:1]):
        assert bool(Whitening.fit(features)(features).isfinite().all())


def test_whitening_in_blocks_is_that_of_all_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.from_numpy(skewed(100, 5))
    whole = Whitening.fit(x)
    monkeypatch.setattr("divcon.nets.whitening.BLOCK", 7)
    parts = Whitening.fit(x)
    assert parts.shrinkage == pytest.approx(whole.shrinkage)
    assert torch.allclose(parts.projection @ parts.projection.T, whole.projection @ whole.projection.T)


@pytest.fixture(scope="module")
def known() -> tuple[torch.Tensor, Labels]:
    """Three kinds that the small directions tell apart, as whitening brings out; image 0 has no label."""
    rng = np.random.default_rng(1)
    kinds = np.sort(rng.integers(0, 3, 150))
    x = skewed(151, 10, seed=2)
    x[1:, :3] += 0.6 * np.eye(3)[kinds]
    return torch.from_numpy(x).float(), Labels(np.arange(1, 151), kinds.astype(np.int64), ["a", "b", "c"])


def slow_knn(
    x: NDArray[np.float64], y: NDArray[np.int64], learn: NDArray[np.int64], judged: NDArray[np.int64]
) -> float:
    """Votes of the 20 nearest by cosine, weighted by exp(s / 0.07)."""
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    right = 0
    for i in judged:
        nearest = sorted(((float(x[i] @ x[j]), int(y[j])) for j in learn), reverse=True)[:20]
        votes = [sum(np.exp(s / 0.07) for s, c in nearest if c == kind) for kind in range(3)]
        right += int(np.argmax(votes)) == y[i]
    return right / len(judged)


@pytest.mark.parametrize("part", table.PARTS)
def test_neighbors_are_those_of_a_slow_loop_raw_and_whitened(known: tuple[torch.Tensor, Labels], part: str) -> None:
    x, labels = known
    white = Whitening.fit(x)(x)
    found = scores.on(x, white, labels, part)
    learn, judged = scores.split(labels.classes, part)
    for name, features in {"knn": x, "whitened": white}.items():
        rows = features[labels.positions].double().numpy()
        assert found[name]["top1"] == pytest.approx(slow_knn(rows, labels.classes, learn, judged))
    assert (found["learn"], found["judged"], found["classes"]) == (len(learn), len(judged), 3)


def test_the_linear_probe_is_scikit_learns(known: tuple[torch.Tensor, Labels]) -> None:
    x, labels = known
    learn, judged = scores.split(labels.classes, "validation")
    y, own = labels.classes, x[labels.positions]
    found = scores.on(x, x, labels, "validation")["linear"]["top1"]
    chosen = linear(own[learn], torch.from_numpy(y[learn]), own[judged], torch.from_numpy(y[judged]), seed=scores.SPLIT)
    rows = own.double().numpy() / float(own[learn].double().square().mean().sqrt())
    oracle = LogisticRegression(C=1 / (chosen.penalty * len(learn)), max_iter=10_000, tol=1e-8)
    assert found == pytest.approx(
        oracle.fit(rows[learn], y[learn]).score(rows[judged], y[judged]), abs=1.5 / len(judged)
    )


def test_no_image_of_the_test_part_is_seen_before_the_end() -> None:
    classes = np.random.default_rng(0).integers(0, 9, 500)
    learn, validation = scores.split(classes, "validation")
    rest, test = scores.split(classes, "test")
    assert not {*learn, *validation} & {*test} and {*rest} >= {*learn, *validation} and not {*learn} & {*validation}
    assert len(test) == pytest.approx(150, abs=9) and len(validation) == pytest.approx(105, abs=9)


# collections


def test_labels_are_those_of_divcon_eval(photos: Path, cache: Path) -> None:
    known, found = open_labeled(photos, cache=cache), labeled(open_images(photos, cache=cache), top)
    assert found.names == known.classes and np.array_equal(found.classes, known.labels)


def test_a_picture_with_two_classes_is_left_out(photos: Path, cache: Path, tmp_path: Path) -> None:
    some = sorted(photos.rglob("*.png"))[:6]
    for i, path in enumerate(some):
        for folder in ("a/x", "a/y", "b/z")[i % 2 : i % 2 + (2 if i == 5 else 1)]:
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / f"{i}.png").write_bytes(path.read_bytes())
    images = open_images(tmp_path, cache=cache)
    assert [len(labeled(images, by).positions) for by in (top, leaf)] == [5, 5]
    assert labeled(images, leaf).names == ["a/x", "a/y"] and labeled(images, top).names == ["a"]


def test_a_source_of_a_mixture_is_labeled_by_its_own_folders() -> None:
    paths = ["emoji/food/1.png", "emoji/2.png", "openclipart/animals/cats/3.png", "4.png"]
    assert [within("emoji")(PurePosixPath(path)) for path in paths] == ["food", None, None, None]
    assert within("openclipart")(PurePosixPath(paths[2])) == "animals"
    assert [top(PurePosixPath(path)) for path in paths] == ["emoji", "emoji", "openclipart", None]


@pytest.fixture
def no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """A linear probe that answers the first class at once: noise takes it seconds, and no test of neighbors needs it."""
    monkeypatch.setattr(
        scores, "linear", lambda x, y, judged, *_, **__: SimpleNamespace(predictions=y[:1].repeat(len(judged)))
    )


@pytest.mark.usefixtures("no_probe")
def test_a_mean_is_told_of_label_sets_of_different_images_only(photos: Path, cache: Path) -> None:
    images = open_images(photos, cache=cache)
    x = torch.randn(len(images), 6, generator=torch.Generator().manual_seed(0))
    kinds = {
        name: (lambda path, name=name: top(path) if (int(path.stem) % 2) == (name == "odd") else None)
        for name in ("odd", "even")
    }
    one, several = (scores.scores_of(x, images, kinds, apart, "validation")["parts"] for apart in (False, True))
    assert set(several) - set(one) == {"mean"}
    assert several["mean"]["knn"]["top1"] == pytest.approx((one["odd"]["knn"]["top1"] + one["even"]["knn"]["top1"]) / 2)


@pytest.mark.usefixtures("no_probe")
def test_whitening_is_fitted_on_all_images_those_without_a_label_too(photos: Path, cache: Path) -> None:
    images = open_images(photos, cache=cache)
    x = torch.from_numpy(skewed(len(images), 5)).float()
    whitened = Whitening.fit(x)(x)

    def even(path: PurePosixPath) -> str | None:
        return top(path) if int(path.stem) % 2 == 0 else None

    found = scores.scores_of(x, images, {"even": even}, False, "validation")["parts"]["even"]
    labels = labeled(images, even)
    learn, judged = scores.split(labels.classes, "validation")
    assert 0 < len(labels.positions) < len(images)
    told = scores.neighbors(whitened[labels.positions], torch.from_numpy(labels.classes), learn, judged)
    assert found["whitened"]["top1"] == float((told.numpy() == labels.classes[judged]).mean())
    assert found["whitened"] != found["knn"]


def test_some_of_fashion_mnist_are_always_the_same_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (40, 28, 28), np.uint8), rng.integers(0, 10, 40, np.uint8)
    for name in "ab":
        piles.write_some(tmp_path / name, images, labels, 12)
    written: list[dict[Path, bytes]] = [
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.bmp")}
        for name in "ab"
    ]
    assert written[0] == written[1] and len(written[0]) == 12
    for path in written[0]:
        assert np.array_equal(np.asarray(Image.open(tmp_path / "a" / path)), images[int(path.stem)])


def test_a_collection_whose_making_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    tries: list[int] = []

    def make(folder: Path, work: Path) -> None:
        (folder / f"{len(tries)}.png").touch()
        tries.append(0)
        if len(tries) == 1:
            raise KeyboardInterrupt

    pile: Any = piles.Pile(make, {})
    with pytest.raises(KeyboardInterrupt):
        pile.folder("some", tmp_path)
    for _ in range(2):
        folder = pile.folder("some", tmp_path)
        assert [path.name for path in folder.iterdir()] == ["1.png"] and len(tries) == 2
        assert [path.name for path in folder.parent.iterdir()] == ["images"]
