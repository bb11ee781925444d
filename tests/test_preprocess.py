"""A loaded encoder preprocesses images as `divcon embed` does: the same pixels, the same rows."""

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import nn

import divcon
from divcon.data.images import open_images
from divcon.data.pixels.pixel_cache import open_pixels
from divcon.data.views.draw import CENTER_SHARE
from divcon.data.views.presets import center
from divcon.data.views.render import views_of
from divcon.errors import DamagedError, InputError, UsageError
from divcon.files.integrity import read_json, write_json
from divcon.nets.encoder import EncoderSpec, build
from divcon.nets.net import Net
from divcon.nets.preprocessing import PREPROCESSING
from divcon.nets.trained import InputSpec, Trained
from divcon.train.loaded_encoder import Encoder, Preprocess

SIZE = 32
TURNED = 0x0112, 6  # EXIF's note of a camera that was held upright


def scene(width: int, height: int, seed: int) -> Image.Image:
    """Plain shapes with edges: a wrong crop or resampling shows."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", (width, height), tuple(int(v) for v in rng.integers(120, 255, 3)))
    drawing = ImageDraw.Draw(picture)
    for _ in range(12):
        x, y, w, h = (int(v) for v in rng.integers(5, min(width, height) // 2, 4))
        drawing.rectangle([x, y, x + w, y + h], fill=tuple(int(v) for v in rng.integers(0, 255, 3)), outline=0)
    return picture


def transparent(picture: Image.Image) -> Image.Image:
    alpha = Image.linear_gradient("L").resize(picture.size)
    picture.putalpha(alpha)
    return picture


@pytest.fixture(scope="module")
def pile(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """An image of each kind that other preprocessing gets wrong."""
    folder = tmp_path_factory.mktemp("pile")
    exif = Image.Exif()
    exif[TURNED[0]] = TURNED[1]
    scene(240, 180, 0).save(folder / "photo.jpg", quality=90)
    scene(900, 700, 1).save(folder / "large.jpg", quality=90)  # decoded at a part of its size
    scene(240, 180, 2).save(folder / "upright.jpg", exif=exif)
    scene(40, 50, 3).save(folder / "small.png")
    transparent(scene(200, 150, 4)).save(folder / "glyph.png")
    scene(200, 150, 5).convert("P", palette=Image.Palette.ADAPTIVE, colors=16).save(folder / "palette.gif")
    scene(300, 200, 6).convert("L").save(folder / "gray.png")
    scene(300, 200, 7).convert("CMYK").save(folder / "print.tif")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the files of a finished stage."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(5)
    spec = EncoderSpec("slim10_w8")
    Trained(spec, InputSpec(SIZE), Net(build(spec, SIZE)).eval()).save(folder)
    return folder


def test_every_image_gets_the_row_that_embed_gives_it(pile: Path, model: Path, tmp_path: Path) -> None:
    divcon.embed(model, pile, out=tmp_path / "rows.parquet")
    table = pq.read_table(tmp_path / "rows.parquet")
    rows = torch.from_numpy(np.stack(table["embedding"].to_numpy()))
    encoder = divcon.load(model)
    with torch.no_grad():
        ours = encoder(torch.stack([encoder.preprocess(pile / name) for name in table["path"].to_pylist()]))
    assert len(rows) == 8
    assert F.cosine_similarity(ours, rows, dim=1).min() > 0.999


def test_of_a_path_and_of_its_bytes_the_pixels_are_those_of_embed_bit_for_bit(pile: Path, cache: Path) -> None:
    images, preprocess = open_images(pile, cache=cache), Preprocess(InputSpec(SIZE))
    pixels = open_pixels(images, InputSpec(SIZE).short_side, cache=cache, cache_gb=1.0, workers=1)
    every = np.arange(len(images))
    shown = views_of(center(SIZE), *pixels.read(every), (), every)
    for view, name in zip(shown, images.names(every), strict=True):
        path = pile / name.decode() if isinstance(name, bytes) else pile / name
        assert np.array_equal(preprocess.view(path), view), name
        assert np.array_equal(preprocess.view(path.read_bytes()), view), name
        assert torch.equal(preprocess(str(path)), preprocess(path))


@pytest.mark.parametrize("name", ["small.png", "glyph.png", "palette.gif", "gray.png", "print.tif"])
def test_an_image_of_pillows_is_shown_as_the_file_it_was_opened_from(name: str, pile: Path) -> None:
    preprocess = Preprocess(InputSpec(SIZE))
    with Image.open(pile / name) as image:
        assert torch.equal(preprocess(image), preprocess(pile / name))


@pytest.mark.parametrize("name", ["photo.jpg", "large.jpg", "upright.jpg"])
def test_of_a_jpeg_opened_by_pillow_the_pixels_are_nearly_those_of_the_file(name: str, pile: Path) -> None:
    """A file is decoded at a part of its size where that is enough; a Pillow image is used at its full size."""
    preprocess = Preprocess(InputSpec(SIZE))
    with Image.open(pile / name) as image:
        seen, truth = preprocess(image), preprocess(pile / name)
    assert F.cosine_similarity(seen.flatten(), truth.flatten(), dim=0) > 0.995
    assert (seen - truth).abs().mean() < 0.06


def test_an_array_is_shown_as_a_file_of_the_same_pixels(pile: Path) -> None:
    preprocess = Preprocess(InputSpec(SIZE))
    pixels = np.asarray(Image.open(pile / "small.png"))
    assert torch.equal(preprocess(pixels), preprocess(pile / "small.png"))
    assert torch.equal(preprocess(pixels[:, ::-1]), preprocess(np.ascontiguousarray(pixels[:, ::-1])))


def test_images_are_float32_of_one_shape_whatever_the_default_is(pile: Path) -> None:
    preprocess, before = Preprocess(InputSpec(SIZE)), torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        batch = torch.stack([preprocess(path) for path in sorted(pile.iterdir())])
    finally:
        torch.set_default_dtype(before)
    assert batch.shape == (8, 3, SIZE, SIZE) and batch.dtype == torch.float32


def test_a_file_that_embed_rejects_is_refused_with_the_reason(pile: Path, tmp_path: Path) -> None:
    preprocess = Preprocess(InputSpec(SIZE))
    whole = (pile / "photo.jpg").read_bytes()
    half = tmp_path / "half.jpg"
    half.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"half\.jpg.*truncated"):
        preprocess(half)
    with (
        Image.open(half) as opened,
        pytest.raises(UsageError, match=r"an image of Pillow \(RGB, \d+ x \d+\) from \S+half\.jpg"),
    ):
        preprocess(opened)
    with pytest.raises(InputError, match=r"an object of bytes.*not_an_image"):
        preprocess(b"no picture at all, but long enough to look at")
    with pytest.raises(InputError, match=r"none\.jpg can't be read"):
        preprocess(tmp_path / "none.jpg")
    with pytest.raises(InputError, match="too_small"):
        preprocess(np.zeros((4, 4, 3), np.uint8))


@pytest.mark.parametrize(
    "image", [None, 3, np.zeros((8, 8, 2), np.uint8), np.zeros((8, 8, 3), np.float32), np.zeros((3, 8, 8), np.uint8)]
)
def test_what_is_no_image_is_refused_with_what_is(image: Any) -> None:
    with pytest.raises(UsageError, match=r"an image must be a path, .*not an (object|array) of"):
        Preprocess(InputSpec(SIZE))(image)


def test_a_mode_that_no_file_keeps_is_refused_with_a_way_out(pile: Path) -> None:
    with Image.open(pile / "small.png") as image, pytest.raises(UsageError, match=r"HSV.*convert\('RGB'\)"):
        Preprocess(InputSpec(SIZE))(image.convert("HSV"))


# the encoder around it


def test_a_loaded_encoder_has_the_weights_names_of_the_network_itself(tmp_path: Path) -> None:
    spec = EncoderSpec("test_resnet", stem="own")
    torch.manual_seed(0)
    ours, timms = Encoder(build(spec, 64), InputSpec(64)), timm.create_model("test_resnet", num_classes=0)
    assert list(ours.state_dict()) == list(timms.state_dict())
    timms.load_state_dict(ours.state_dict())
    other = Encoder(build(spec, 64), InputSpec(64))
    other.load_state_dict(timms.state_dict())
    assert all(torch.equal(value, ours.state_dict()[name]) for name, value in other.state_dict().items())


def test_a_loaded_encoder_can_be_copied_pickled_and_put_into_another_network(model: Path) -> None:
    encoder, x = divcon.load(model), torch.randn(2, 3, SIZE, SIZE)
    for copied in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        assert torch.equal(copied(x), encoder(x)) and copied.preprocess == encoder.preprocess
        assert list(copied.state_dict()) == list(encoder.state_dict())
    probe = nn.Sequential(encoder, nn.Linear(encoder.num_features, 2))
    other = nn.Sequential(copy.deepcopy(encoder), nn.Linear(encoder.num_features, 2))
    assert "0.conv1.weight" in probe.state_dict()
    other.load_state_dict(probe.state_dict())
    assert torch.equal(other(x), probe(x))


def test_the_preprocessing_alone_can_be_handed_to_a_loaders_process(model: Path, pile: Path) -> None:
    preprocess = divcon.load(model).preprocess
    there = pickle.dumps(preprocess)
    assert len(there) < 1000
    assert torch.equal(pickle.loads(there)(pile / "photo.jpg"), preprocess(pile / "photo.jpg"))


# in encoder.json


def test_encoder_json_says_how_images_are_shown(model: Path) -> None:
    assert read_json(model / "encoder.json")["preprocess"] == PREPROCESSING
    assert PREPROCESSING["center"] == CENTER_SHARE
    assert PREPROCESSING["short_side"] * SIZE == InputSpec(SIZE).short_side


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"center": 1.0}, "preprocess.center is 1.0.*0.875"),
        ({"resampling": "bilinear"}, "preprocess.resampling is 'bilinear'"),
        ({"pad": "reflect"}, "preprocess.pad is 'reflect'"),
        ({"exif": None}, "preprocess.exif is None"),
    ],
)
def test_a_network_that_wants_images_shown_in_another_way_is_refused(
    changes: dict[str, Any], said: str, model: Path, tmp_path: Path
) -> None:
    about = read_json(model / "encoder.json")
    (tmp_path / "encoder.safetensors").write_bytes((model / "encoder.safetensors").read_bytes())
    write_json(tmp_path / "encoder.json", {**about, "preprocess": {**PREPROCESSING, **changes}})
    with pytest.raises(DamagedError, match=said):
        divcon.load(tmp_path)


def test_an_encoder_json_that_does_not_say_it_is_refused(model: Path, tmp_path: Path) -> None:
    about = {name: value for name, value in read_json(model / "encoder.json").items() if name != "preprocess"}
    (tmp_path / "encoder.safetensors").write_bytes((model / "encoder.safetensors").read_bytes())
    write_json(tmp_path / "encoder.json", about)
    with pytest.raises(DamagedError, match="preprocess"):
        divcon.load(tmp_path)
