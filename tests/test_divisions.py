"""Collections that can't be divided well: refused, repaired, or divided as said, by counts of where images really went."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY
from test_decode import encoded

from divcon.clustering.clusters import Clusters
from divcon.clustering.kmeans import assign, kmeans
from divcon.config import to_json_value, with_options
from divcon.data.images import open_images
from divcon.errors import DataError, UsageError
from divcon.machine import Machine
from divcon.nets.encoder import EncoderSpec
from divcon.nets.net import Net
from divcon.nets.trained import InputSpec, Trained
from divcon.runs.stage import StageContext, Summary
from divcon.stages.cluster import ClusterSummary, Divide, divide, fit_centroids
from divcon.stages.learning import pixels_of, with_fitting_batch
from divcon.train.encode import encode

SIGHT = InputSpec(16)


def colors(folder: Path, counts: list[int]) -> Path:
    """Plain pictures: so many of each of some very different colors, a shade apart (the network sees them as one)."""
    from PIL import Image

    folder.mkdir()
    bases = [(10, 10, 10), (240, 20, 20), (20, 240, 20), (20, 20, 240), (240, 240, 20)]
    for base, count in zip(bases, counts):
        for i in range(count):
            image = Image.new("RGB", (32, 32), base)
            image.putpixel((0, 0), (i % 256, i // 256, 0))
            (folder / f"{base[0]}-{base[1]}-{base[2]}-{i}.png").write_bytes(encoded("PNG", image))
    return folder


class Corner(torch.nn.Module):
    """Sees the color in the middle of a picture, coarsely; pictures of one color are the same to it."""

    num_features = 6

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        middle = (images[:, :, 8, 8] * 4).round() / 4
        return torch.cat([middle.relu(), (-middle).relu()], 1) + 0.01


def base() -> Trained:
    class Fixed(Trained):
        fingerprint = "fixed"

    return Fixed(EncoderSpec("slim10_w8"), SIGHT, Net(Corner()))


def divided(folder: Path, tmp_path: Path, cache: Path, **options: Any) -> tuple[Clusters, Summary]:
    images = open_images(folder, cache=cache)
    work = StageContext(tmp_path / "clusters", "clusters", Machine(), cache)
    work.folder.mkdir(exist_ok=True)
    recipe = Divide(layer="pool", smallest=1, **options)
    result = divide(work, base(), images, recipe)
    clusters = result.artifact
    seen = encode(base().net, SIGHT, pixels_of(work, images, SIGHT), work.machine, layer="pool")
    nearest, _ = assign(seen, torch.from_numpy(clusters.centroids))
    assert np.array_equal(np.bincount(nearest, minlength=clusters.k), clusters.sizes), (
        "the sizes are not those of a real assignment"
    )
    return clusters, result.summary


def test_images_that_all_look_the_same_are_not_divided(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(
        DataError, match=r"asked for 3 clusters, but there is 1 distinct image among 40; type clusters.k=1"
    ):
        divided(colors(tmp_path / "photos", [40]), tmp_path, cache, k=3)


def test_more_clusters_than_the_base_can_tell_apart_are_refused(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(
        DataError, match=r"asked for 4 clusters, but there are 3 distinct images among 60; type clusters.k=3"
    ):
        divided(colors(tmp_path / "photos", [20, 20, 20]), tmp_path, cache, k=4)


def test_as_many_clusters_as_can_be_told_apart_are_just_those(tmp_path: Path, cache: Path) -> None:
    clusters, summary = divided(colors(tmp_path / "photos", [30, 20, 10]), tmp_path, cache, k=3)
    assert isinstance(summary, ClusterSummary) and (summary.k, summary.sizes) == (3, [30, 20, 10])
    assert clusters.sizes.tolist() == [30, 20, 10]


def test_a_giant_cluster_is_warned_of(tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "divcon"):
        clusters, _ = divided(colors(tmp_path / "photos", [193, 4, 3]), tmp_path, cache, k=3)
    assert clusters.sizes.tolist() == [193, 4, 3]
    assert "one cluster of 3 holds 96% of the images" in caplog.text


def test_tiny_clusters_are_merged_and_it_is_said(tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    clusters, _ = divided(colors(tmp_path / "photos", [190, 5, 5]), tmp_path, cache, k=3)
    with caplog.at_level(logging.INFO, "divcon"):
        merged = clusters.merge_small(128)
    assert merged.sizes.tolist() == [200]
    assert "2 of 3 clusters had fewer than 128 images and were merged: 5 to cluster 0, 5 to cluster 0" in caplog.text


def test_clusters_fitted_on_a_sample_are_counted_over_all_images(tmp_path: Path, cache: Path) -> None:
    clusters, _ = divided(colors(tmp_path / "photos", [90, 60, 50]), tmp_path, cache, k=3, sample=40)
    assert (
        clusters.sizes.tolist() == [90, 60, 50] and clusters.sample is not None and len(clusters.sample.positions) == 40
    )


def long_tail() -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and their heaps: a broad one of most rows, and nine small ones."""
    draw = torch.Generator().manual_seed(0)
    heaps = torch.repeat_interleave(torch.arange(10), torch.tensor([3000] + [60] * 9))
    centers = torch.nn.functional.normalize(torch.randn(10, 16, generator=draw))
    spread = torch.where(heaps == 0, 0.25, 0.05)[:, None]
    return centers[heaps] + spread * torch.randn(len(heaps), 16, generator=draw), heaps


def found_apart(x: torch.Tensor, heaps: torch.Tensor, recipe: Divide) -> int:
    """Return the number of heaps of which a cluster of their own has nearly all rows, and few of others."""
    centroids, inertia = fit_centroids(x, recipe, "fp32")
    labels, distances = assign(x, centroids)
    assert len(centroids) == recipe.k and inertia == pytest.approx(float(distances.sum()), rel=1e-5)
    counts = torch.zeros(recipe.k, 10).index_put_((labels, heaps), torch.tensor(1.0), accumulate=True)
    own = (counts > 0.9 * counts.sum(0)) & (counts > 0.9 * counts.sum(1, keepdim=True))
    return int(own.any(0).sum())


def test_levels_give_small_kinds_clusters_of_their_own_where_one_level_divides_the_largest() -> None:
    x, heaps = long_tail()
    plain = found_apart(x, heaps, Divide(k=10))
    assert plain <= 7 and found_apart(x, heaps, Divide(k=10, levels=(200, 50))) >= plain + 2


def test_each_image_goes_to_the_nearest_centroid_of_the_highest_level(tmp_path: Path, cache: Path) -> None:
    clusters, summary = divided(
        colors(tmp_path / "photos", [90, 60, 50, 40]), tmp_path, cache, k=2, levels=(3,), sample=150
    )
    assert isinstance(summary, ClusterSummary) and summary.sizes == clusters.sizes.tolist() and clusters.k == 2


@pytest.mark.parametrize("levels", [(5,), (4, 40), (40, 40), (2000,), (7, 5)])
def test_levels_that_do_not_fall_from_the_sample_to_k_are_refused(levels: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"clusters.levels=\[.*for example clusters.levels=\[100,25\]"):
        Divide(k=5, sample=1000, levels=levels)


def test_a_recipe_without_levels_is_described_as_before_there_were_any() -> None:
    assert "levels" not in to_json_value(Divide())
    assert to_json_value(Divide(levels=(20, 10)))["levels"] == [20, 10]
    assert with_options(Divide(), {"levels": [20, 10]}).levels == (20, 10)


FEATURES: dict[str, tuple[torch.Tensor, int, str]] = {
    "all identical": (torch.ones(400, 8), 5, "1 distinct"),
    "two values": (torch.eye(8)[[0, 1] * 200], 5, "2 distinct"),
    "k = n + 1": (torch.eye(8), 9, "8 distinct"),
    "nothing": (torch.empty(0, 8), 1, "no"),
    "not a number": (torch.full((40, 8), float("nan")), 2, "finite"),
    "infinite": (torch.cat([torch.eye(8), torch.full((1, 8), float("inf"))]), 2, "finite"),
    "without direction": (torch.cat([torch.eye(8), torch.zeros(1, 8)]), 2, "zero"),
}


@pytest.mark.parametrize("name", FEATURES)
def test_features_that_can_not_be_divided_are_refused_in_words(name: str) -> None:
    x, k, said = FEATURES[name]
    with pytest.raises(DataError) as error:
        kmeans(x, k, seed=0)
    assert said in str(error.value) or name in ("nothing", "without direction"), str(error.value)


@pytest.mark.parametrize(
    ("counts", "k"), [([380, 5, 5, 5, 5], 5), ([396, 1, 1, 1, 1], 5), ([100, 100, 100, 100], 4), ([8] * 8, 8)]
)
def test_no_cluster_is_empty_however_uneven_the_features(counts: list[int], k: int) -> None:
    x = torch.eye(8)[np.repeat(np.arange(len(counts)), counts)]
    found = kmeans(x, k, seed=0)
    assert sorted(found.sizes.tolist()) == sorted(counts)
    assert torch.equal(assign(x, found.centroids)[0].bincount(minlength=k), found.sizes)


def test_an_experts_batch_is_an_eighth_of_its_images_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    from divcon.stages.pretrain import Pretrain

    recipe = Pretrain(samples_seen=1000, batch_size=256)
    with caplog.at_level(logging.INFO, "divcon"):
        assert with_fitting_batch(recipe, 160, "experts/1").batch_size == 20
    assert "experts/1: batch 20, an eighth of its 160 images" in caplog.text
    with pytest.raises(
        DataError, match=r"experts/2: 15 images are too few to train on; add images, or lower clusters.k"
    ):
        with_fitting_batch(recipe, 15, "experts/2")


def test_more_clusters_than_images_are_refused_before_anything_is_trained(tmp_path: Path, cache: Path) -> None:
    import divcon

    folder = colors(tmp_path / "photos", [10, 10])
    with pytest.raises(DataError, match=r"clusters.k=21, but there are 20 different images; lower it"):
        divcon.run(folder, out=tmp_path / "run", epochs=1, **{**TINY, "clusters.k": 21})
    assert not (tmp_path / "run").exists()
