"""Sixteen bits become eight by the range that an image uses, in every format."""

from pathlib import Path

import numpy as np
import pytest
from formats_made import COLOR, DISC, GRAY, deep, plain, png, saved, tiff
from numpy.typing import NDArray
from PIL import Image

from divcon.data.decoding.decode import decode
from divcon.data.decoding.tone_range import window
from divcon.data.images import open_images


def micrograph(seed: int) -> NDArray[np.uint16]:
    """An image of a camera of 12 bits: a background of 100 to 220, and spots of some hundreds."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64]
    values = rng.integers(100, 220, (64, 64)).astype(float)
    for column, row in rng.integers(4, 60, (8, 2)):
        values += rng.integers(300, 900) * np.exp(-((x - column) ** 2 + (y - row) ** 2) / 18)
    return values.astype(np.uint16)


def test_different_micrographs_stay_different_and_are_noted(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "micro").mkdir()
    for i in range(40):
        (tmp_path / "micro" / f"{i}.tif").write_bytes(saved("TIFF", micrograph(i)))
    index = open_images(tmp_path / "micro", near_duplicates="drop", cache=cache, workers=1).index
    assert (index.used, index.near_duplicates, index.image_warnings) == (40, 0, {"range_stretched": 40})


def files(values: NDArray[np.uint16]) -> dict[str, bytes]:
    """The same gray values in every format that holds 16 bits."""
    return {
        "PNG": png(values, 16, 0),
        "TIFF": tiff(values),
        "TIFF, high byte first": tiff(values, order=">"),
        "TIFF, LZW, tiles": tiff(values, compression="lzw", predictor=True, tile=(16, 16)),
        "TIFF, white is 0": tiff(values, "miniswhite"),
        "PGM": b"P5 %d %d 65535\n" % values.shape[::-1] + values.astype(">u2").tobytes(),
        "PNG, three times": png(np.dstack([values] * 3), 16, 2),
        "TIFF, planes": tiff(np.dstack([values] * 3), "rgb", planes=True),
    }


@pytest.mark.parametrize("values", [micrograph(0), deep(GRAY), deep(GRAY, 1023), micrograph(1) * 20])
def test_a_range_follows_from_the_values_and_not_from_the_file(values: NDArray[np.uint16]) -> None:
    pictures = {name: decode(data) for name, data in files(values).items()}
    turned_round = pictures.pop("TIFF, white is 0")
    first = pictures["PNG"]
    assert all(np.array_equal(picture, first.pixels) for picture, _ in pictures.values())
    assert all(notes == first.notes for _, notes in pictures.values())
    assert np.array_equal(255 - turned_round.pixels, first.pixels) and turned_round.notes == first.notes


def windowed(values: NDArray[np.integer], white: int = 65535) -> tuple[int, int]:
    return window(np.bincount(np.ravel(values), minlength=65536), white)


@pytest.mark.parametrize(
    ("bits", "least"), [(8, 8), (9, 10), (10, 10), (11, 12), (12, 12), (13, 14), (14, 14), (15, 16)]
)
def test_white_is_that_of_the_least_depth_that_holds_all_values(bits: int, least: int) -> None:
    assert windowed(np.arange(2**bits)) == (0, 2**least - 1)


def test_a_hot_pixel_hides_nothing() -> None:
    values = np.arange(10_000) % 500 + 100
    values[0] = 65535
    assert windowed(values) == (100, 599)


def thermal(low: int, step: int, seed: int) -> NDArray[np.uint16]:
    picture = np.asarray(
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 8), np.uint8)).resize((64, 48))
    )
    return (low + step * picture.astype(int)).astype(np.uint16)


def test_narrow_ranges_far_above_black_stay_different_and_are_noted(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "thermal").mkdir()
    for i in range(40):
        (tmp_path / "thermal" / f"{i}.png").write_bytes(png(thermal(29_000, 8, i), 16, 0))
    index = open_images(tmp_path / "thermal", near_duplicates="drop", cache=cache, workers=1).index
    assert (index.used, index.near_duplicates, index.image_warnings) == (40, 0, {"range_stretched": 40})


@pytest.mark.parametrize(
    ("low", "high"), [(29_000, 31_040), (31_744, 35_839), (1000, 1255), (60_000, 65_535), (20_000, 36_000)]
)
def test_a_range_is_judged_by_its_width_and_not_by_its_top(low: int, high: int) -> None:
    values = np.repeat(np.arange(low, high + 1), 3)
    assert np.abs(np.array(windowed(values)) - (low, high)).max() <= (high - low) / 900


@pytest.mark.parametrize(("low", "high"), [(2_000, 60_000), (30_000, 50_000), (0, 17_000), (9_000, 26_000)])
def test_a_photograph_that_uses_more_than_a_quarter_stays_as_it_is(low: int, high: int) -> None:
    assert windowed(np.arange(low, high + 1)) == (0, 65535)


@pytest.mark.parametrize(("low", "high"), [(40_000, 40_006), (65_530, 65_535), (3_000, 3_100)])
def test_a_flat_image_with_noise_does_not_become_an_image_of_noise(low: int, high: int) -> None:
    black, white = windowed(np.arange(low, high + 1))
    assert white - black == 255 and 0 <= black <= low and high <= white <= 65535


def test_a_hot_and_a_dead_pixel_hide_nothing_far_above_black() -> None:
    values = np.arange(10_000) % 1000 + 30_000
    values[:2] = 0, 65535
    low, high = windowed(values)
    assert 30_000 <= low <= 30_001 and 30_998 <= high <= 30_999


def test_eight_bits_in_sixteen_are_never_stretched() -> None:
    assert windowed(np.arange(100, 131)) == (0, 255)


@pytest.mark.parametrize("values", [thermal(29_000, 8, 0), thermal(1_000, 1, 1)])
def test_a_narrow_range_is_the_same_in_every_file(values: NDArray[np.uint16]) -> None:
    pictures = {name: decode(data) for name, data in files(values).items() if name != "TIFF, white is 0"}
    assert all(np.array_equal(found.pixels, pictures["PNG"].pixels) for found in pictures.values())
    assert np.ptp(pictures["PNG"].pixels) == 255


def test_where_nearly_all_is_one_value_the_rest_is_what_shows() -> None:
    """A black sky with a star."""
    assert windowed(np.array([3] * 9_999 + [900])) == (3, 900)


def test_a_white_that_is_said_is_believed_unless_a_value_is_above_it() -> None:
    assert windowed(np.arange(9_000), 10_000) == (0, 10_000)
    assert windowed(np.arange(12_000), 10_000) == (0, 16383)
    assert windowed(np.arange(4096), 4000) == (0, 4095)


def test_a_file_of_16_bits_whose_range_is_used_is_as_it_was() -> None:
    assert decode(png(deep(COLOR), 16, 2))[1] == () and np.array_equal(decode(png(deep(COLOR), 16, 2)).pixels, COLOR)


def test_colors_share_one_scale() -> None:
    tinted = deep(COLOR, 1000) // np.array([1, 2, 4], np.uint16)
    got = decode(png(tinted, 16, 2)).pixels.astype(int)
    assert np.abs(got - np.round(tinted / 1023 * 255)).max() <= 1


def test_what_is_transparent_does_not_count() -> None:
    """A frame of 65,535 under an alpha of 0 around a faint image."""
    values = np.where(DISC == 255, deep(GRAY, 1023), 65535)
    layers = np.dstack([values, deep(DISC)])
    assert decode(png(layers, 16, 4)).notes == ("range_stretched=0-1023",)


@pytest.mark.parametrize("picture", [GRAY // 40, COLOR // 40])
def test_a_dark_image_of_8_bits_is_dark(picture: NDArray[np.uint8]) -> None:
    assert decode(saved("PNG", picture)).pixels.max() == picture.max()


@pytest.mark.parametrize("tag", ["t281", "t341"])
def test_a_white_that_a_tiff_names_is_white(tag: str) -> None:
    data = plain(16, 1, deep(GRAY, 10_000).astype("<u2").tobytes(), **{tag: [10_000], "t280": [50]})
    assert np.array_equal(decode(data).pixels[:, :, 0], GRAY)


def test_white_is_zero_with_a_white_that_is_said_is_turned_round_within_it() -> None:
    data = plain(16, 0, (4000 - deep(GRAY, 4000)).astype("<u2").tobytes(), t281=[4000])
    assert np.array_equal(decode(data).pixels[:, :, 0], GRAY)


def test_a_range_is_that_of_all_rows_in_a_tall_image() -> None:
    tall = np.full((600, 40), 500, np.uint16)
    tall[590:] = 3000
    assert decode(saved("TIFF", Image.fromarray(tall))).notes == ("range_stretched=0-4095",)
