"""The map of a report: where images lie, their neighbors, and the thumbnails in the page."""

import base64
import io
import json
import re
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from made_map import HOSTILE, made_features, made_map
from PIL import Image

from divcon.clustering.features import Features
from divcon.reports import layout
from divcon.reports.layout import lay_out, principal_components, spread
from divcon.reports.map import NEIGHBORS, ImageMap, nearest_others
from divcon.reports.markers import marker
from divcon.reports.page import Page, render
from divcon.reports.thumbnails import SIDE, Picture, cell_of, gallery_uri, pack, thumbnail

PICTURES: list[Picture] = [
    np.full((40, 90, 3), (200, 30, 60), np.uint8),  # wide
    np.full((90, 30, 3), (20, 160, 60), np.uint8),  # high
    np.full((3, 700, 3), (40, 40, 220), np.uint8),  # a line
    np.full((8, 8, 3), (250, 240, 10), np.uint8),  # smaller than a cell
    np.full((64, 64), 90, np.uint8),  # gray
]


@pytest.fixture(scope="module")
def small() -> ImageMap:
    return made_map(150, 4, hostile=True)


def decoded(uri: str) -> Image.Image:
    head, _, body = uri.partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(body))).convert("RGB")


def page_of(image_map: ImageMap) -> str:
    return render(Page("runs/made", [], [], [], image_map))


def data_of(html: str) -> dict[str, list[object]]:
    """Return the JSON of a page, read as a browser does: up to the first end of a script."""
    found = re.search(r'<script type="application/json" id="map-data">(.*?)</script', html, re.S)
    assert found
    data: dict[str, list[object]] = json.loads(found[1])
    return data


def test_neighbors_are_those_of_a_slow_loop() -> None:
    x = made_features(200, 3)[0].astype(np.float32)
    x[7] = x[3]
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    found = nearest_others(x, NEIGHBORS)
    for i, row in enumerate(found):
        assert i not in row
        others = np.delete(unit @ unit[i], i)
        np.testing.assert_allclose(unit[row] @ unit[i], np.sort(others)[::-1][:NEIGHBORS], atol=1e-5)


def test_of_equal_images_none_is_its_own_neighbor() -> None:
    assert all(i not in row and len(row) == 8 for i, row in enumerate(nearest_others(np.ones((30, 4), np.float32), 8)))
    assert nearest_others(np.ones((3, 4), np.float32), 8).shape == (3, 2)
    assert nearest_others(np.ones((1, 4), np.float32), 8).shape == (1, 0)


def test_principal_components_are_those_of_the_singular_values() -> None:
    x = np.random.default_rng(0).normal(size=(60, 7)) * np.arange(1, 8)
    centered = x - x.mean(0)
    _, _, directions = np.linalg.svd(centered)
    expected = centered @ directions[:2].T
    np.testing.assert_allclose(np.abs(principal_components(x)), np.abs(expected), atol=1e-8)
    assert principal_components(x[:, :1]).shape == (60, 2)


@pytest.mark.parametrize("n", [1, 2, 3, 60])
def test_a_few_images_lie_in_the_unit_square(n: int) -> None:
    x = made_features(n, 2)[0]
    found = lay_out(Features.of(x).compared().numpy(), x)
    assert found.method == "PCA" and found.xy.shape == (n, 2) and found.spacing > 0
    assert found.xy.min() >= 0 and found.xy.max() <= 1


def test_images_that_lie_on_one_another_are_pushed_apart() -> None:
    groups = np.repeat([[0.0, 0.0], [1.0, 0.2], [0.4, 0.9]], 100, axis=0).astype(np.float32)
    spaced = spread(groups)
    middles = spaced.reshape(3, 100, 2).mean(1)
    assert (layout.nearest_distances(spaced) > 0.02).all()
    assert np.linalg.norm(spaced.reshape(3, 100, 2) - middles[:, None], axis=2).max() < 0.25  # groups stay groups


def test_each_push_is_that_of_a_slow_loop() -> None:
    xy, distance = np.random.default_rng(0).uniform(size=(40, 2)), 0.2
    moves = np.zeros_like(xy)
    layout.sum_pushes(xy, np.argsort(xy[:, 0]), distance, moves)
    expected = np.zeros_like(xy)
    for i in range(40):
        for j in range(40):
            apart = np.linalg.norm(xy[i] - xy[j])
            if i != j and apart < distance:
                expected[i] += (distance - apart) / 2 * (xy[i] - xy[j]) / apart
    np.testing.assert_allclose(moves, expected, atol=1e-12)


def test_without_umap_the_page_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "find_spec", lambda name: None)
    x = made_features(300, 3)[0]
    found = lay_out(Features.of(x).compared().numpy(), x)
    assert (found.method, found.why) == ("PCA", "pip install 'divcon[report]' brings UMAP")


SAME = """
import sys; from made_map import made_features; from divcon.clustering.features import Features
from divcon.reports.layout import lay_out
x = made_features(250, 3)[0]; found = lay_out(Features.of(x).compared().numpy(), x)
sys.stdout.write(found.method + found.xy.tobytes().hex())
"""


@pytest.mark.slow
def test_the_layout_of_another_process_has_the_same_bytes() -> None:
    command = [sys.executable, "-c", SAME]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2))
    assert first == second and first.startswith("UMAP" if find_spec("umap") else "PCA")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("umap") is None, reason="umap-learn is not installed: pip install 'divcon[report]'")
def test_umap_keeps_alike_images_together() -> None:
    x, labels = made_features(400, 4)
    found = lay_out(Features.of(x).compared().numpy(), x)
    beside = nearest_others(np.pad(found.xy, ((0, 0), (0, 1)), constant_values=10), 1)  # by angle, nearly by distance
    assert found.method == "UMAP" and (labels[beside[:, 0]] == labels).mean() > 0.9


def test_each_cell_of_an_atlas_has_the_pixels_of_its_picture() -> None:
    pictures = [PICTURES[i % len(PICTURES)] for i in range(1030)]
    atlases = pack(pictures, 10**9)
    images = [decoded(uri) for uri in atlases.uris]
    assert len(images) == 2
    for i in [*range(40), *range(1000, 1030)]:
        atlas, x, y = cell_of(i)
        width, height = atlases.sizes[i]
        expected = thumbnail(pictures[i], SIDE)
        assert (width, height) == expected.size
        shown = np.asarray(images[atlas].crop((x, y, x + width, y + height)), int)
        difference = np.abs(shown - np.asarray(expected, int))
        assert difference[1:-1, 1:-1].max(initial=0) <= 20  # at the edge of a cell, WebP mixes in the next one
        colors = [np.asarray(thumbnail(picture, 1)).reshape(3).astype(int) for picture in PICTURES]
        assert np.abs(colors - shown.mean((0, 1))).sum(1).argmin() == i % len(PICTURES)


def test_thumbnails_keep_the_shape_of_a_picture_and_are_never_enlarged() -> None:
    sizes = [thumbnail(picture, SIDE).size for picture in PICTURES]
    assert sizes == [(64, 28), (21, 64), (64, 1), (8, 8), (64, 64)]


def test_a_transparent_picture_stands_on_a_background_on_which_it_shows() -> None:
    black_on_nothing = np.zeros((20, 20, 4), np.uint8)
    black_on_nothing[5:15, 5:15, 3] = 255
    white_on_nothing = black_on_nothing + np.array([255, 255, 255, 0], np.uint8)
    assert thumbnail(black_on_nothing, 20).getpixel((0, 0)) == (255, 255, 255)
    assert thumbnail(white_on_nothing, 20).getpixel((0, 0)) == (0, 0, 0)


def test_a_picture_that_could_not_be_read_is_gray() -> None:
    atlas = decoded(pack([PICTURES[0], None], 10**9).uris[0])
    assert all(abs(value - 154) < 8 for value in atlas.getpixel((SIDE + 30, 30)))  # type: ignore[union-attr]


def test_atlases_become_coarser_until_they_fit() -> None:
    noise = list(np.random.default_rng(0).integers(256, size=(64, 64, 64, 3), dtype=np.uint8))
    sizes = [sum(map(len, pack(noise, limit).uris)) for limit in (10**9, 200_000, 100_000)]
    assert sizes[0] > 200_000 >= sizes[1] > 100_000 >= sizes[2]


def test_a_thumbnail_of_a_gallery_is_a_picture_of_its_own() -> None:
    assert decoded(gallery_uri(PICTURES[0], 90)).size == (90, 40)


def test_the_page_has_each_image_with_its_facts(small: ImageMap) -> None:
    data = data_of(page_of(small))
    assert data["path"] == small.sample.paths and data["bytes"] == small.sample.sizes.tolist()
    assert data["neighbors"] == small.neighbors.tolist()
    assert [data["clusters"][c]["name"] for c in data["cluster"]] == [
        small.sample.names[c] for c in small.sample.clusters
    ]  # type: ignore[index,call-overload]


def test_names_that_are_markup_stay_text(small: ImageMap) -> None:
    html = page_of(small)
    for name in HOSTILE[:3]:
        assert name not in html
    assert html.count("<script") == html.count("</script") == 2
    assert "49.png" not in html  # {{ 7 * 7 }} is no template


def test_without_scripts_the_page_has_the_numbers_of_all_images(small: ImageMap) -> None:
    rows = re.findall(r'<tr><th scope="row">', page_of(small))
    assert len(rows) == len(small)


@pytest.mark.slow
def test_a_page_of_4000_pictures_stays_small() -> None:
    noisy = made_map(4000, 10)
    assert len(page_of(noisy).encode()) < 8_000_000


def test_twenty_clusters_have_twenty_markers() -> None:
    assert len({marker(cluster) for cluster in range(7, 27)}) == 20
