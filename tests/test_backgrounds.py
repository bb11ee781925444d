"""A transparent image still shows on its background: it never becomes one color."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from formats_made import COLOR, DISC, GRAY, Pixels, deep, on, png, saved, tiff
from PIL import Image, ImageDraw

from divcon.data.decoding.decode import decode, decode_shrunk
from divcon.data.decoding.rejection import Rejected
from divcon.data.images import open_images

CLEAR = 0 * GRAY


def glyph(seed: int) -> Pixels:
    """The alpha of a drawing; no two are equal."""
    image, rng = Image.new("L", (48, 48), 0), np.random.default_rng(seed)
    for _ in range(3):
        x, y, width = (int(v) for v in rng.integers(4, 28, 3))
        ImageDraw.Draw(image).ellipse([x, y, x + width, y + width // 2 + 3], fill=255)
    return np.asarray(image)


def of(color: tuple[int, int, int], alpha: Pixels) -> Pixels:
    """One color all over, and an alpha that shows a part of it."""
    return np.dstack([np.broadcast_to(np.array(color, np.uint8), (*alpha.shape, 3)), alpha])


def test_white_glyphs_on_nothing_stay_as_many_as_they_are(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "icons").mkdir()
    for i in range(40):
        (tmp_path / "icons" / f"{i}.png").write_bytes(saved("PNG", of((255, 255, 255), glyph(i))))
    index = open_images(tmp_path / "icons", near_duplicates="drop", cache=cache, workers=1).index
    assert (index.used, index.near_duplicates, index.image_warnings) == (40, 0, {"ground": 40})


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
        got = decode(WAYS[way](of((shade, shade, shade), DISC))).pixels
        assert got[24, 32].min() > 225 and got[0, 0].max() < 9
        assert decode_shrunk(WAYS[way](of((shade, shade, shade), DISC)), 16)[0, 0].max() < 9


@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 0), (200, 200, 200), (255, 220, 255), (0, 90, 255)])
def test_what_shows_on_white_is_put_on_white(color: tuple[int, int, int]) -> None:
    got, notes = decode(saved("PNG", of(color, DISC)))
    assert (got[0, 0] == 255).all() and (got[24, 32] == color).all() and notes == ()


def test_a_white_page_with_a_little_text_and_a_clear_corner_stays_white() -> None:
    page = of((255, 255, 255), np.full((100, 100), 255, np.uint8))
    page[:3, :3, 3], page[50:52, 10:90, :3] = 0, 0  # 1.6 % is text
    assert (decode(saved("PNG", page)).pixels[0, 0] == 255).all()


def test_colors_that_hardly_cover_anything_do_not_choose_the_background() -> None:
    """A white disc in a black halo with an alpha of 1, as some programs write it."""
    layers = of((255, 255, 255), DISC)
    layers[DISC == 0] = 0, 0, 0, 1
    assert decode(saved("PNG", layers)).pixels[0, 0].max() == 0


def test_the_background_is_chosen_before_the_image_is_shrunk() -> None:
    """A fine dark grid in white: its average would be too light to show on white."""
    layers = of((255, 255, 255), np.full((1000, 1000), 255, np.uint8))
    layers[::3, :, :3], layers[400:, 400:, 3] = 180, 0
    assert (
        decode(saved("PNG", layers)).pixels[999, 999].min()
        == decode_shrunk(saved("PNG", layers), 20)[-1, -1].min()
        == 255
    )


@pytest.mark.parametrize("way", [way for way in WAYS if way not in ("gray and alpha", "AVIF")])
def test_an_alpha_of_zero_all_over_is_none(way: str) -> None:
    got, notes = decode(WAYS[way](np.dstack([COLOR, CLEAR])))
    assert np.array_equal(got, COLOR) and "alpha_ignored" in notes


MISTAKES = {
    "1": np.full_like(GRAY, 1),
    "3": np.full_like(GRAY, 3),
    "31, 0 at the border": np.pad(np.full((46, 62), 31, np.uint8), 1),
    "0 and one pixel": CLEAR.copy(),
    "1 and some pixels": np.ones_like(GRAY),
}
MISTAKES["0 and one pixel"][9, 9] = 255
MISTAKES["1 and some pixels"][20, 9:20] = 255


@pytest.mark.parametrize("way", ["RGBA", "WebP", "TIFF"])
@pytest.mark.parametrize("alpha", MISTAKES)
def test_an_alpha_under_which_nearly_nothing_can_show_is_none(way: str, alpha: str) -> None:
    data = WAYS[way](np.dstack([COLOR, MISTAKES[alpha]]))
    got, notes = decode(data)
    assert np.array_equal(got, COLOR) and "alpha_ignored" in notes
    assert np.array_equal(decode_shrunk(data, 1000), COLOR)


def test_an_alpha_of_16_bits_with_one_pixel_is_none_and_the_range_is_that_of_all() -> None:
    layers = np.dstack([deep(COLOR), deep(MISTAKES["0 and one pixel"])])
    got, notes = decode(png(layers, 16, 6))
    assert np.array_equal(got, COLOR) and notes == ("alpha_ignored",)


def test_a_low_contrast_does_not_hide_an_image_behind_a_mistaken_alpha() -> None:
    fog = (200 + COLOR // 8).astype(np.uint8)
    for alpha in ("1", "0 and one pixel"):
        assert np.array_equal(decode(saved("PNG", np.dstack([fog, MISTAKES[alpha]]))).pixels, fog)


@pytest.mark.parametrize("how", [{"quality": 30}, {"lossless": True}])
def test_a_small_icon_in_a_webp_keeps_its_alpha(how: dict[str, object]) -> None:
    layers = np.zeros((200, 200, 4), np.uint8)
    layers[90:105, 90:105] = 200, 30, 30, 255
    assert decode(saved("WEBP", layers, **how)).pixels[0, 0].min() > 247


def test_a_faint_shape_of_one_color_keeps_its_alpha() -> None:
    got, notes = decode(saved("PNG", of((0, 0, 0), (DISC // 10).astype(np.uint8))))
    assert got[24, 32].max() < got[0, 0].min() and notes == ()


def test_a_small_icon_in_a_large_clear_image_keeps_its_alpha() -> None:
    layers = np.zeros((200, 200, 4), np.uint8)
    layers[90:105, 90:105] = 200, 30, 30, 255
    got, notes = decode(saved("PNG", layers))
    assert (got[0, 0] == 255).all() and (got[95, 95] == (200, 30, 30)).all() and notes == ()


def marked(seed: int, share: float, mark: tuple[int, int, int] = (0, 0, 0)) -> Pixels:
    """A white shape with a mark in its middle."""
    alpha = glyph(seed)
    layers, inside = of((255, 255, 255), alpha), np.argwhere(alpha)
    middle = inside[np.argsort(np.abs(inside - inside.mean(axis=0)).sum(axis=1), kind="stable")]
    rows, columns = middle[: max(1, round(share * len(inside)))].T
    layers[rows, columns, :3] = mark
    return layers


def test_white_shapes_with_a_dark_mark_stay_as_many_as_they_are(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "marked").mkdir()
    for i in range(40):
        (tmp_path / "marked" / f"{i}.png").write_bytes(saved("PNG", marked(i, 0.02)))
    index = open_images(tmp_path / "marked", near_duplicates="drop", cache=cache, workers=1).index
    assert (index.used, index.near_duplicates, index.image_warnings) == (40, 0, {"ground": 40})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("share", [0.02, 0.1, 0.2])
def test_a_dark_mark_does_not_put_a_white_shape_on_white(way: str, share: float) -> None:
    data = WAYS[way](marked(0, share))
    assert decode(data).notes == ("ground=black",)
    clear = np.argwhere(glyph(0) == 0)[0]
    assert decode(data).pixels[tuple(clear)].max() < 9 and decode_shrunk(data, 1000)[tuple(clear)].max() < 9


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_a_drawing_in_color_with_white_in_it_stays_on_white(share: float) -> None:
    assert decode(saved("PNG", marked(0, share, (200, 30, 60)))).notes == ()


def test_a_black_shape_with_a_white_mark_stays_on_white() -> None:
    layers = marked(0, 0.1)
    layers[:, :, :3] = 255 - layers[:, :, :3]
    assert decode(saved("PNG", layers)).notes == ()


def test_half_transparent_white_is_put_on_black() -> None:
    soft = (DISC // 2).astype(np.uint8)
    assert np.array_equal(
        decode(saved("PNG", of((255, 255, 255), soft))).pixels, on(0, np.full((*soft.shape, 3), 255, np.uint8), soft)
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
def test_an_image_of_one_color_is_rejected_for_that(data: bytes) -> None:
    with pytest.raises(Rejected, match="all over") as error:
        decode(data)
    assert error.value.reason == "one_color"


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_a_first_frame_of_one_color_is_said_to_be_the_first_of_more(kind: str) -> None:
    how = {"lossless": True} if kind == "WEBP" else {}
    data = saved(kind, ONE, save_all=True, append_images=[Image.fromarray(COLOR), Image.fromarray(COLOR[::-1])], **how)
    with pytest.raises(Rejected, match="all over, the first of 3 frames"):
        decode(data)


def test_one_pixel_that_differs_makes_an_image() -> None:
    almost = np.asarray(ONE).copy()
    almost[47, 63, 2] += 1
    assert np.array_equal(decode(saved("PNG", almost)).pixels, almost)
