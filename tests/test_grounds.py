"""What is left of a picture once it lies on its ground: never one color where there was something to see."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from formats_made import COLOR, DISC, GRAY, Pixels, deep, on, png, saved, tiff
from PIL import Image, ImageDraw

from divcon.data.decode import Rejected, rgb, seen, shrunk
from divcon.data.images import open_images

CLEAR = 0 * GRAY


def glyph(seed: int) -> Pixels:
    """The alpha of a drawing, no two alike."""
    image, rng = Image.new("L", (48, 48), 0), np.random.default_rng(seed)
    for _ in range(3):
        x, y, width = (int(v) for v in rng.integers(4, 28, 3))
        ImageDraw.Draw(image).ellipse([x, y, x + width, y + width // 2 + 3], fill=255)
    return np.asarray(image)


def of(color: tuple[int, int, int], alpha: Pixels) -> Pixels:
    """One color all over, of which alpha shows a part."""
    return np.dstack([np.broadcast_to(np.array(color, np.uint8), (*alpha.shape, 3)), alpha])


def test_white_glyphs_on_nothing_stay_as_many_as_they_are(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "icons").mkdir()
    for i in range(40):
        (tmp_path / "icons" / f"{i}.png").write_bytes(saved("PNG", of((255, 255, 255), glyph(i))))
    index = open_images(tmp_path / "icons", near_duplicates="drop", cache=cache, threads=1).index
    assert (index.used, index.near_duplicates, index.notes) == (40, 0, {"ground": 40})


WAYS: dict[str, Callable[[Pixels], bytes]] = {
    "RGBA": lambda layers: saved("PNG", layers),
    "16 bits": lambda layers: png(deep(layers), 16, 6),
    "gray and alpha": lambda layers: saved("PNG", Image.fromarray(layers).convert("LA")),
    "WebP": lambda layers: saved("WEBP", layers, lossless=True, exact=True),
    "TIFF": lambda layers: tiff(layers, "rgb", extrasamples=["unassalpha"]),
    "TIFF, planes of 16 bits": lambda layers: tiff(deep(layers), "rgb", extrasamples=["unassalpha"], planes=True),
    "AVIF": lambda layers: saved("AVIF", layers, quality=100, subsampling="4:4:4"),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_nearly_white_is_put_on_black_in_every_format_that_has_alpha(way: str) -> None:
    for shade in (255, 240):
        got = rgb(WAYS[way](of((shade, shade, shade), DISC)))
        assert got[24, 32].min() > 225 and got[0, 0].max() < 9
        assert shrunk(WAYS[way](of((shade, shade, shade), DISC)), 16)[0, 0].max() < 9


@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 0), (200, 200, 200), (255, 220, 255), (0, 90, 255)])
def test_what_shows_on_white_is_put_on_white(color: tuple[int, int, int]) -> None:
    got, notes = seen(saved("PNG", of(color, DISC)))
    assert (got[0, 0] == 255).all() and (got[24, 32] == color).all() and notes == ()


def test_a_white_page_with_a_little_text_and_a_clear_corner_stays_white() -> None:
    page = of((255, 255, 255), np.full((100, 100), 255, np.uint8))
    page[:3, :3, 3], page[50:52, 10:90, :3] = 0, 0  # 1.6 % is text
    assert (rgb(saved("PNG", page))[0, 0] == 255).all()


def test_colors_that_hardly_cover_anything_do_not_choose_the_ground() -> None:
    """A white disc in a halo of black whose alpha is 1: programs leave such."""
    layers = of((255, 255, 255), DISC)
    layers[DISC == 0] = 0, 0, 0, 1
    assert rgb(saved("PNG", layers))[0, 0].max() == 0


def test_the_ground_is_chosen_before_the_picture_is_shrunk() -> None:
    """A fine dark grid in white: averaged, it would be too light to show on white."""
    layers = of((255, 255, 255), np.full((1000, 1000), 255, np.uint8))
    layers[::40, :, :3], layers[400:, 400:, 3] = 180, 0
    assert rgb(saved("PNG", layers))[999, 999].min() == shrunk(saved("PNG", layers), 20)[-1, -1].min() == 255


@pytest.mark.parametrize("way", [way for way in WAYS if way not in ("gray and alpha", "AVIF")])
def test_an_alpha_of_zero_all_over_is_none(way: str) -> None:
    got, notes = seen(WAYS[way](np.dstack([COLOR, CLEAR])))
    assert np.array_equal(got, COLOR) and "alpha_ignored" in notes


def test_half_transparent_white_is_put_on_black() -> None:
    soft = (DISC // 2).astype(np.uint8)
    assert np.array_equal(
        rgb(saved("PNG", of((255, 255, 255), soft))), on(0, np.full((*soft.shape, 3), 255, np.uint8), soft)
    )


ONE = Image.new("RGB", (64, 48), (7, 8, 9))


@pytest.mark.parametrize(
    "data",
    [
        *(saved(kind, ONE) for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "AVIF", "PPM")),
        saved("WEBP", ONE, lossless=True),
        saved("PNG", of((7, 8, 9), CLEAR)),
        saved("PNG", of((255, 255, 255), np.full((48, 64), 255, np.uint8))),
        tiff(np.full((48, 64), 777, np.uint16)),
        png(np.zeros((48, 64), np.uint16), 16, 0),
    ],
)
def test_a_picture_of_one_color_is_rejected_for_that(data: bytes) -> None:
    with pytest.raises(Rejected, match="all over") as error:
        rgb(data)
    assert error.value.reason == "one_color"


def test_one_pixel_that_differs_makes_a_picture() -> None:
    almost = np.asarray(ONE).copy()
    almost[47, 63, 2] += 1
    assert np.array_equal(rgb(saved("PNG", almost)), almost)
