"""Exports of an encoder with a whitening: each library gives whitened features, by a last layer or by a file beside."""

from pathlib import Path

import pytest
import torch
from test_export import MEAN, STD, check_programs, require, trained

import divcon
from divcon.exports.compare import difference, made_pictures, normalize, tolerance_of
from divcon.exports.registry import format_named
from divcon.nets.encoder import EncoderSpec
from divcon.nets.trained import Trained
from divcon.nets.whitening import Whitening

CASES = [
    ("slim10_w8", 32, "safetensors", False),
    ("slim10_w8", 32, "onnx", False),
    ("slim10_w8", 48, "huggingface", True),
    ("resnet18", 64, "timm", False),
    ("resnet18", 32, "torchvision", False),
    ("vit_tiny_patch16_224", 32, "timm", False),
    ("mobilenetv3_small_050", 32, "timm", False),
    pytest.param("convnext_atto", 64, "timm", False, marks=pytest.mark.slow),
    pytest.param("densenet121", 64, "torchvision", False, marks=pytest.mark.slow),
    pytest.param("resnet18", 64, "huggingface", True, marks=pytest.mark.slow),
    pytest.param("resnet18", 64, "onnx", False, marks=pytest.mark.slow),
    pytest.param("vit_tiny_patch16_224", 32, "onnx", False, marks=pytest.mark.slow),
]


def whitened(name: str, size: int) -> Trained:
    """An encoder with the whitening of its features of random pictures, from smooth to rough."""
    model = trained(EncoderSpec(name), size)
    generator = torch.Generator().manual_seed(2)
    grids = [torch.rand(30, 3, side, side, generator=generator) for side in (2, 4, size)]
    pictures = torch.cat([torch.nn.functional.interpolate(grid, (size, size), mode="bilinear") for grid in grids])
    with torch.no_grad():
        x = torch.cat([model.net.encoder(normalize((part * 255).byte(), MEAN, STD)) for part in pictures.split(30)])
    return Trained(model.spec, model.input_spec, model.net, whitening=Whitening.fit(x))


@pytest.mark.parametrize(("name", "size", "format", "beside"), CASES)
def test_each_library_gives_whitened_features(
    name: str, size: int, format: str, beside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require(format)
    model = whitened(name, size)
    model.save(tmp_path)
    (export,) = divcon.export(tmp_path, out=tmp_path / "out", format=format).exports
    folder, card = Path(export.folder), (Path(export.folder) / "README.md").read_text()
    assert (folder / "whitening.safetensors").is_file() == (beside or format == "safetensors")
    assert "The features are whitened" in card and ("is in the file whitening.safetensors" in card) == beside
    assert set(export.files) == {file.name for file in folder.iterdir()} - {"__pycache__"}
    pixels = made_pictures(size)
    with torch.no_grad():
        raw = model.net.encoder(normalize(pixels, MEAN, STD))
        theirs = format_named(format).load(folder)(pixels)
    assert model.whitening is not None
    assert difference(raw if beside else model.whitening(raw), theirs) <= tolerance_of(format_named(format), model)
    check_programs(tmp_path, folder, monkeypatch, 0.7)  # their views differ, and whitening shows it


@pytest.mark.parametrize("format", ["safetensors", "torchvision", "timm"])
def test_an_export_without_whitening_has_the_bytes_that_it_had(format: str, tmp_path: Path) -> None:
    model = whitened("resnet18", 64)
    (raw,) = divcon.export(model, out=tmp_path / "raw", format=format, whiten=False).exports
    (before,) = divcon.export(model.raw(), out=tmp_path / "before", format=format).exports
    assert raw.files == before.files and "whitening.safetensors" not in raw.files
    for name in raw.files:
        assert (Path(raw.folder) / name).read_bytes() == (Path(before.folder) / name).read_bytes()
    assert "The features are raw" in (Path(raw.folder) / "README.md").read_text()


def test_timm_gives_raw_features_of_a_whitened_export_without_its_last_layer(tmp_path: Path) -> None:
    import timm

    model = whitened("resnet18", 64)
    divcon.export(model, out=tmp_path, format="timm")
    network = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True, num_classes=0).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(images), model.net.encoder(images))


def test_an_exported_encoder_is_loaded_with_its_whitening(tmp_path: Path) -> None:
    whitened("slim10_w8", 32).save(tmp_path)
    divcon.export(tmp_path, out=tmp_path / "out", format="safetensors")
    images, original = torch.randn(2, 3, 32, 32), divcon.load(tmp_path)
    assert torch.equal(divcon.load(tmp_path / "out/safetensors")(images), original(images))
    raw = divcon.load(tmp_path / "out/safetensors", whiten=False)
    assert torch.equal(raw(images), divcon.load(tmp_path, whiten=False)(images))
