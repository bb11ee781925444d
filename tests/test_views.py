"""Views: their arithmetic, their probabilities, and that they depend on the image's index alone."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter
from scipy import stats
from slow_views import slow_crop, slow_view
from torchvision.transforms import functional as tv

from divcon.data.pixels.packed import PackedImages
from divcon.data.views.draw import ORDERS, Draws, draw
from divcon.data.views.presets import PRESETS, byol, center, mild, simclr
from divcon.data.views.render import render, views_of
from divcon.data.views.view import Style, View
from divcon.errors import UsageError

STYLES: list[Style] = ["byol", "torchvision"]
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
N = 10_000


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A saturated image of soft blobs: photographs are softer than noise."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR))


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def still(n: int, box: tuple[float, float, float, float], style: Style = "byol") -> Draws:
    """Draws with a crop and no other change."""
    draws = draw(View(style=style, center=True), (0,), np.arange(n), np.full(n, 8), np.full(n, 8))
    return replace(draws, box=np.tile(np.array(box, np.float64), (n, 1)), order=np.tile(ORDERS[0], (n, 1)))


def one_step(step: int, factor: float, style: Style, size: int) -> Draws:
    """Draws that change an image of size x size in one color step alone."""
    factors = np.array([[0 if style == "byol" else 1, 1, 1, 0]], np.float32)
    factors[0, step] = factor
    return replace(still(1, (0, 0, size, size), style), jitter=np.ones(1, bool), factors=factors)


def large(view: View, n: int = N) -> Draws:
    """Draws for n images so large that rounding a box to pixels changes nothing."""
    side = np.full(n, 100_000)
    return draw(view, (0, "view"), np.arange(n), side, side)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(np.float64) - b).max())


@pytest.mark.parametrize("style", STYLES)
def test_kernel_is_the_slow_arithmetic_in_all_24_orders(style: Style) -> None:
    pictures = PackedImages.from_arrays(
        [noise(12 + i, 40 - i, i) if i % 2 else smooth(30, 20 + i, i) for i in range(24)]
    )
    view = View(
        24, jitter=1, brightness=0.6, contrast=0.8, saturation=0.9, hue=0.5, blur=0.6, sigma=(2, 9), style=style
    )
    view = replace(view, solarize=0.5)
    rows = np.arange(24)
    draws = replace(draw(view, ("orders",), rows, pictures.heights, pictures.widths), order=ORDERS)
    fast = render(pictures, rows, draws, 24)
    assert max(difference(fast[i], slow_view(pictures[i], draws, i, 24)) for i in rows) < 0.6


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("size", [31, 112])
def test_wide_blur_is_the_slow_arithmetic_to_the_edge(style: Style, size: int) -> None:
    pictures = PackedImages.from_arrays([noise(50, 60, i) for i in range(2)])
    draws = replace(still(2, (5, 5, 40, 50), style), sigma=np.array([1, 4], np.float32), flip=np.array([True, False]))
    fast = render(pictures, np.arange(2), draws, size)
    assert max(difference(fast[i], slow_view(pictures[i], draws, i, size)) for i in range(2)) < 0.6


BOXES = [(0, 0, 50, 70), (3, 11, 20, 31), (10, 2, 40, 12), (49, 69, 1, 1), (7.25, 3.5, 30.5, 30.5)]


@pytest.mark.parametrize("size", [2, 9, 32, 96])
@pytest.mark.parametrize("box", BOXES)
def test_crop_is_pillows_antialiased_bicubic(size: int, box: tuple[float, float, float, float]) -> None:
    picture = smooth(50, 70)
    ours = render(PackedImages.from_arrays([picture]), np.array([0]), still(1, box), size)[0]
    assert difference(ours, resized(Image.fromarray(picture), box, size)) <= 1


@pytest.mark.parametrize("size", [2, 9, 32, 96])
@pytest.mark.parametrize("box", BOXES)
def test_crop_of_noise_is_pillows_where_pillow_keeps_fractions(
    size: int, box: tuple[float, float, float, float]
) -> None:
    picture = noise(50, 70)
    ours = render(PackedImages.from_arrays([picture]), np.array([0]), still(1, box), size)[0]
    planes = [resized(Image.fromarray(picture[..., c].astype(np.float32)), box, size) for c in range(3)]
    assert difference(ours, np.stack(planes, 2).clip(0, 255)) < 0.51


def resized(image: Image.Image, box: tuple[float, float, float, float], size: int) -> np.ndarray:
    top, left, tall, wide = box
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, (left, top, left + wide, top + tall)))


@pytest.mark.parametrize(
    ("step", "adjust", "factors"),
    [
        (BRIGHTNESS, tv.adjust_brightness, (0.2, 0.7, 1.8)),
        (CONTRAST, tv.adjust_contrast, (0.2, 0.7, 1.8)),
        (SATURATION, tv.adjust_saturation, (0.0, 0.7, 1.8)),
        (HUE, tv.adjust_hue, (-0.5, -0.1, 0.03, 0.2, 0.5)),
    ],
)
@pytest.mark.parametrize("picture", [smooth(32, 32), noise(32, 32)])
def test_torchvision_style_is_torchvision(step: int, adjust, factors: tuple[float, ...], picture: np.ndarray) -> None:
    image = torch.from_numpy(picture.copy()).permute(2, 0, 1) / 255
    for factor in factors:
        ours = render(
            PackedImages.from_arrays([picture]), np.array([0]), one_step(step, factor, "torchvision", 32), 32
        )[0]
        assert difference(ours, adjust(image, factor).permute(1, 2, 0).numpy() * 255) < 0.51


def test_gray_blur_and_solarize_of_torchvision_style_are_torchvisions() -> None:
    picture, yes = noise(112, 112), np.ones(1, bool)
    image, draws = torch.from_numpy(picture).permute(2, 0, 1) / 255, still(1, (0, 0, 112, 112), "torchvision")
    for change, theirs, bound in (
        (replace(draws, gray=yes), tv.rgb_to_grayscale(image, 3), 0.51),
        (replace(draws, sigma=np.ones(1, np.float32)), tv.gaussian_blur(image, [11, 11], [1.0, 1.0]), 0.6),
        (replace(draws, solarize=yes), tv.solarize(image, 0.5), 0.51),
    ):
        ours = render(PackedImages.from_arrays([picture]), np.array([0]), change, 112)[0]
        assert difference(ours, theirs.permute(1, 2, 0).numpy() * 255) < bound


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("sigma", [0.1, 0.4, 0.9, 2.0])
def test_blur_keeps_an_even_image_as_it_is(style: Style, sigma: float) -> None:
    """Sixteen bits lose a little at each weight: too little to see with any number of weights."""
    levels = np.arange(256, dtype=np.uint8)
    pictures = PackedImages.from_arrays([np.full((40, 40, 3), level, np.uint8) for level in levels])
    draws = replace(still(256, (0, 0, 40, 40), style), sigma=np.full(256, sigma, np.float32))
    inside = render(pictures, np.arange(256), draws, 120)[:, 20:-20, 20:-20]
    assert (inside == levels[:, None, None, None]).all()


def test_byol_brightness_is_added_and_its_contrast_keeps_each_channels_mean() -> None:
    picture = smooth(32, 32) // 2 + 64
    only = PackedImages.from_arrays([picture]), np.array([0])
    brighter = render(*only, one_step(BRIGHTNESS, 0.2, "byol", 32), 32)[0]
    flatter = render(*only, one_step(CONTRAST, 0.5, "byol", 32), 32)[0]
    assert difference(brighter, picture + 51.0) < 0.51
    assert difference(flatter.mean((0, 1)), picture.mean((0, 1))) < 0.3


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("step", [SATURATION, HUE])
def test_gray_images_stay_as_they_are_under_saturation_and_hue(style: Style, step: int) -> None:
    picture = np.repeat(noise(16, 16)[..., :1], 3, axis=2)
    assert (
        render(PackedImages.from_arrays([picture]), np.array([0]), one_step(step, 0.37, style, 16), 16)[0] == picture
    ).all()


@pytest.mark.parametrize(("view", "blur", "solarize"), [(byol(224)[0], 1.0, 0.0), (byol(224)[1], 0.1, 0.2)])
def test_byol_views_happen_as_often_as_in_table_12(view: View, blur: float, solarize: float) -> None:
    d = large(view)
    often = {d.flip.mean(): 0.5, d.jitter.mean(): 0.8, d.gray.mean(): 0.2, (d.sigma > 0).mean(): blur}
    assert all(abs(seen - chance) < 0.02 for seen, chance in {**often, d.solarize.mean(): solarize}.items())
    blurred = d.sigma[d.sigma > 0]
    assert stats.kstest(blurred, stats.uniform(0.1, 1.9).cdf).pvalue > 1e-3
    for step, reach, about in ((BRIGHTNESS, 0.4, 0), (CONTRAST, 0.4, 1), (SATURATION, 0.2, 1), (HUE, 0.1, 0)):
        assert stats.kstest(d.factors[:, step], stats.uniform(about - reach, 2 * reach).cdf).pvalue > 1e-3


def test_area_and_log_aspect_are_uniform_where_every_box_fits() -> None:
    box = large(View(area=(0.08, 0.7))).box
    assert stats.kstest(box[:, 2] * box[:, 3] / 1e10, stats.uniform(0.08, 0.62).cdf).pvalue > 1e-3
    low, high = np.log(3 / 4), np.log(4 / 3)
    assert stats.kstest(np.log(box[:, 3] / box[:, 2]), stats.uniform(low, high - low).cdf).pvalue > 1e-3


def test_boxes_lie_anywhere_in_the_image_and_never_outside() -> None:
    rng = np.random.default_rng(0)
    heights, widths = rng.integers(1, 300, N), rng.integers(1, 300, N)
    top, left, tall, wide = draw(View(), ("boxes",), np.arange(N), heights, widths).box.T
    assert (top >= 0).all() and (left >= 0).all() and (tall >= 1).all() and (wide >= 1).all()
    assert (top + tall <= heights).all() and (left + wide <= widths).all()
    box = large(View(area=(0.2, 0.2))).box
    assert stats.kstest(box[:, 0] / (1e5 - box[:, 2]), "uniform").pvalue > 1e-3


def test_an_image_too_long_for_any_box_gives_its_middle() -> None:
    wide = draw(View(area=(0.9, 1.0)), (0,), np.arange(5), np.full(5, 30), np.full(5, 300))
    tall = draw(View(area=(0.9, 1.0)), (0,), np.arange(5), np.full(5, 300), np.full(5, 30))
    assert (wide.box == [0, 130, 30, 40]).all()
    assert (tall.box == [130, 0, 40, 30]).all()


def test_all_24_orders_of_color_steps_are_as_likely() -> None:
    order = large(View()).order
    seen = np.unique(order, axis=0, return_counts=True)[1]
    assert len(seen) == 24 and stats.chisquare(seen).pvalue > 1e-3
    assert (np.sort(order, axis=1) == range(4)).all()


def test_draws_of_one_image_are_independent() -> None:
    d = large(View(blur=0.5, solarize=0.5))
    place = (d.box[:, :2] / (100_000 - d.box[:, 2:])).T
    columns = [d.flip, d.jitter, d.gray, d.sigma > 0, d.solarize, *d.factors.T, *place, d.order[:, 0]]
    between = np.corrcoef(np.array(columns, float))[~np.eye(len(columns), dtype=bool)]
    assert np.abs(between).max() < 0.05


@pytest.fixture(scope="module")
def pictures() -> PackedImages:
    return PackedImages.from_arrays([smooth(20 + i % 7, 45 - i % 11, i) for i in range(60)])


def test_batch_position_and_threads_change_no_bit(pictures: PackedImages) -> None:
    view, index = View(24, blur=0.5, solarize=0.2), np.arange(60) + 10**9
    alone = np.concatenate([views_of(view, pictures, np.array([i]), (1, "v"), index[i : i + 1]) for i in range(60)])
    shuffled = np.random.default_rng(0).permutation(60)
    for threads in (1, 2, 3, 5):
        together = views_of(view, pictures, shuffled, (1, "v"), index[shuffled], threads)
        assert (together == alone[shuffled]).all()


def test_an_image_has_the_same_views_in_another_collection(pictures: PackedImages) -> None:
    view, rows, index = View(24), np.array([41, 7, 30]), np.array([2, 3, 5])
    fewer = PackedImages.from_arrays([pictures[i] for i in rows])
    there = views_of(view, fewer, np.arange(3), (0,), index)
    assert (views_of(view, pictures, rows, (0,), index) == there).all()


def test_seeds_epochs_and_views_differ(pictures: PackedImages) -> None:
    rows = np.arange(60)
    made = [
        views_of(View(24), pictures, rows, purpose, rows)
        for purpose in ((0, 0, "a"), (1, 0, "a"), (0, 1, "a"), (0, 0, "b"))
    ]
    made.append(views_of(byol(24)[1], pictures, rows, (0, 0, "a"), rows))
    same = [(a == b).all((1, 2, 3)).mean() for i, a in enumerate(made) for b in made[:i]]
    assert max(same[:6]) == 0
    assert max(same) < 0.9


def test_images_in_a_read_only_file_need_no_second_compilation(pictures: PackedImages, tmp_path: Path) -> None:
    from divcon.data.views.kernel import render_chunk

    pictures.flat.tofile(tmp_path / "pixels")
    mapped = replace(pictures, flat=np.memmap(tmp_path / "pixels", np.uint8, "r"))
    rows = np.arange(60)
    made = [views_of(View(24), held, rows, (0,), rows) for held in (pictures, mapped)]
    assert (made[0] == made[1]).all()
    assert len(render_chunk.signatures) == 1


@pytest.mark.parametrize(("height", "width"), [(120, 180), (180, 120), (120, 120)])
def test_center_view_is_pillows_resize_and_crop(height: int, width: int) -> None:
    picture, short = smooth(height, width), 64
    scaled = Image.fromarray(picture).resize((width * short // 120, height * short // 120), Image.Resampling.BICUBIC)
    left, top = (scaled.width - 56) // 2, (scaled.height - 56) // 2
    ours = views_of(center(56), PackedImages.from_arrays([picture]), np.array([0]), ("any",), np.array([0]))[0]
    assert difference(ours, np.asarray(scaled.crop((left, top, left + 56, top + 56)))) <= 1


def test_center_view_leaves_nothing_to_chance(pictures: PackedImages) -> None:
    rows = np.arange(60)
    assert (views_of(center(24), pictures, rows, (0,), rows) == views_of(center(24), pictures, rows, (1,), rows)).all()


@pytest.mark.parametrize("shape", [(8, 8), (1, 50), (50, 1), (1, 1), (2, 2)])
@pytest.mark.parametrize("size", [1, 2, 8, 32])
def test_tiny_images_and_tiny_views_are_the_slow_arithmetic(shape: tuple[int, int], size: int) -> None:
    pictures, index = PackedImages.from_arrays([noise(*shape)]), np.arange(20)
    rows = np.zeros(20, np.int64)
    draws = draw(View(size, blur=0.5), (0,), index, pictures.heights[rows], pictures.widths[rows])
    made = render(pictures, rows, draws, size)
    assert max(difference(made[i], slow_view(pictures[0], draws, i, size)) for i in index) < 0.6


def test_a_crop_reads_no_other_image() -> None:
    picture = noise(9, 9)
    inside = PackedImages.from_arrays([np.full((5, 7, 3), 255, np.uint8), picture, np.full((7, 5, 3), 255, np.uint8)])
    made = render(inside, np.array([1]), still(1, (0, 0, 9, 9)), 20)[0]
    assert difference(made, 255 * slow_crop(picture, (0, 0, 9, 9), 20).clip(0, 1)) < 0.51


def test_an_empty_batch_gives_no_views(pictures: PackedImages) -> None:
    nothing = np.zeros(0, np.int64)
    assert views_of(View(24), pictures, nothing, (0,), nothing, workers=2).shape == (0, 24, 24, 3)


def test_presets_are_what_their_papers_say() -> None:
    one, other = byol(224)
    assert (one.blur, one.solarize, other.blur, other.solarize) == (1.0, 0.0, 0.1, 0.2)
    assert replace(one, blur=0.1, solarize=0.2) == other
    assert (one.area, one.brightness, one.contrast, one.saturation, one.hue) == ((0.08, 1.0), 0.4, 0.4, 0.2, 0.1)
    assert [mild(32)[0].blur, mild(64)[0].blur, mild(32)[0].area[0], mild(32)[1].solarize] == [0, 0.5, 0.3, 0]
    strong = simclr(224)[0]
    assert (strong.brightness, strong.contrast, strong.saturation, strong.hue, strong.blur) == (0.8, 0.8, 0.8, 0.2, 0.5)
    assert all(view.size == 48 for preset in PRESETS.values() for view in preset(48))


def test_contrastive_baselines_are_shown_what_their_papers_say() -> None:
    colors = [
        (v.brightness, v.contrast, v.saturation, v.hue) for v in (PRESETS["moco"](224)[1], PRESETS["npid"](224)[0])
    ]
    assert colors == [(0.4, 0.4, 0.4, 0.1), (0.4, 0.4, 0.4, 0.4)]
    for name, jitter, blur in (("moco", 0.8, 0.5), ("npid", 1.0, 0.0)):
        (view, same) = PRESETS[name](224)
        assert view == same and view.style == "torchvision" and (view.area, view.gray) == ((0.2, 1.0), 0.2)
        assert (view.jitter, view.blur, view.solarize) == (jitter, blur, 0.0)
    assert [replace(view, area=(0.08, 1.0)) for view in PRESETS["moco_v3"](224)] == list(byol(224))
    assert {view.area for view in PRESETS["moco_v3"](224)} == {(0.2, 1.0)}


@pytest.mark.parametrize("view", [byol(96)[1], simclr(32)[0], center(64)])
def test_a_view_comes_back_from_json(view: View) -> None:
    assert TypeAdapter(View).validate_python(json.loads(json.dumps(asdict(view)))) == view


@pytest.mark.parametrize(
    "wrong",
    [{"size": 0}, {"flip": 1.5}, {"hue": 0.6}, {"area": (0.5, 0.2)}, {"area": (0.0, 1.0)}, {"sigma": (-1.0, 1.0)}],
)
def test_a_view_that_cannot_be_is_refused_by_name(wrong: dict) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        View(**wrong)


def test_writing_a_recipe_does_not_import_numba() -> None:
    subprocess.run(
        [sys.executable, "-c", "import sys, divcon.data.views.view; assert 'numba' not in sys.modules"], check=True
    )


DOUBLING = "from kernel.compiling import compiled\n\n\n@compiled\ndef twice(x):\n    return 2 * x\n"
TWICE = "import doubling; print(doubling.twice(21.0), sum(doubling.twice.stats.cache_hits.values()))"


class Doubling:
    """A small function that is compiled like the kernel, beside a copy of the kernel."""

    def __init__(self, folder: Path):
        from divcon.data.views import kernel

        self.folder, self.source = folder, Path(kernel.__file__).parent
        shutil.copytree(self.source, folder / "kernel", ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "doubling.py").write_text(DOUBLING)

    def run(self, **variables: str) -> str:
        """Return the output of a new process: the answer, and the number of functions that it found compiled."""
        environment = {**os.environ, "PYTHONPATH": str(self.folder), **variables}
        done = subprocess.run(
            [sys.executable, "-c", TWICE], env=environment, check=True, capture_output=True, text=True
        )
        assert done.stderr == ""
        return done.stdout.strip()


@pytest.fixture
def doubling(tmp_path: Path) -> Doubling:
    return Doubling(tmp_path)


def test_compiled_code_serves_the_next_process_until_any_file_of_the_kernel_changes(doubling: Doubling) -> None:
    kept = {"NUMBA_CACHE_DIR": str(doubling.folder / "numba")}
    assert [doubling.run(**kept), doubling.run(**kept)] == ["42.0 0", "42.0 1"]
    other = doubling.folder / "kernel/crop.py"
    other.write_text(other.read_text() + "# and more\n")
    assert [doubling.run(**kept), doubling.run(**kept)] == ["42.0 0", "42.0 1"]


def test_compiled_code_that_a_power_cut_left_short_is_compiled_again(doubling: Doubling) -> None:
    kept = {"NUMBA_CACHE_DIR": str(doubling.folder / "numba")}
    assert doubling.run(**kept) == "42.0 0"
    files = sorted(doubling.folder.glob("numba/*/*twice*"))
    assert [file.suffix for file in files] == [".nbc", ".nbi"]
    for file, left in zip(files, (files[0].stat().st_size // 2, 0)):
        os.truncate(file, left)
        assert [doubling.run(**kept), doubling.run(**kept)] == ["42.0 0", "42.0 1"]


def test_where_no_folder_can_be_written_code_is_compiled_each_time(doubling: Doubling) -> None:
    for folder in (doubling.folder, doubling.folder / "kernel"):
        (folder / "__pycache__").touch()
    closed = {"NUMBA_CACHE_DIR": "", "XDG_CACHE_HOME": "/proc/none", "PYTHONDONTWRITEBYTECODE": "1"}
    assert [doubling.run(**closed), doubling.run(**closed)] == ["42.0 0", "42.0 0"]


def test_the_name_of_compiled_code_depends_on_every_file_of_the_kernel(doubling: Doubling) -> None:
    from divcon.data.views.kernel.compiling import sources_digest

    copy = doubling.folder / "kernel"
    digests = {sources_digest(doubling.source)}
    for file in sorted(copy.glob("*.py")):
        assert sources_digest.__wrapped__(copy) in digests
        file.write_text(file.read_text() + "# and more\n")
        digests.add(sources_digest.__wrapped__(copy))
    assert len(digests) == 1 + len(list(copy.glob("*.py")))


BITS = """
import hashlib, numpy as np
from divcon.data.pixels.packed import PackedImages
from divcon.data.views.presets import PRESETS
from divcon.data.views.render import views_of
rows = np.arange(24)
pictures = PackedImages.from_arrays([np.random.default_rng(i).integers(0, 256, (90 + i, 130 - 3 * i, 3), np.uint8) for i in rows])
made = [views_of(view, pictures, rows, (0,), rows) for name in ("byol", "simclr") for view in PRESETS[name](72)]
print(hashlib.sha256(np.stack(made)).hexdigest())
"""


@pytest.mark.slow
def test_shorter_vectors_make_the_same_bits() -> None:
    """Compare this processor with itself when numba compiles for one of 2013, or of 2008 without AVX."""
    processors: list[dict[str, str]] = [{}, {"NUMBA_CPU_NAME": "haswell"}, {"NUMBA_CPU_NAME": "nehalem"}]
    for processor in processors[1:]:
        processor["NUMBA_CPU_FEATURES"] = ""
    made = {
        subprocess.run([sys.executable, "-c", BITS], env=os.environ | processor, check=True, capture_output=True).stdout
        for processor in processors
    }
    assert len(made) == 1
