"""Each export, loaded by the library that it is for, gives the features of the encoder that was exported."""

import importlib.metadata
import io
import json
import math
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from PIL import Image, ImageDraw, ImageOps
from safetensors.torch import load_file, save_file

import divcon
from divcon.answers import fields_of
from divcon.errors import DamagedError, FaultError, InputError, OwnedError, UsageError
from divcon.exports import registry
from divcon.exports.compare import difference, largest_difference, made_pictures, normalize
from divcon.exports.formats import safetensors as safetensors_format
from divcon.exports.formats import timm as timm_format
from divcon.exports.preprocessing import resized_side, timm_share
from divcon.exports.write import Export
from divcon.nets.encoder import EncoderSpec
from divcon.nets.trained import OTHER_FORMATS, InputSpec, Trained, untrained
from divcon.runs.evals import EvalKey, EvaluateAnswer, KnnScores, TaskScores, keep_scores
from divcon.runs.folder import RUN
from divcon.runs.records import RunRecord
from divcon.train.loaded_encoder import Preprocess

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.21, 0.25)  # not the usual ones: a target that takes its own is noticed
NEEDED = {"onnx": ("onnx", "onnxruntime", "onnxscript"), "huggingface": ("transformers",)}

Model = tuple[str, int]  # name and size
CASES: list[tuple[str, int, str]] = [
    ("slim10_w8", 32, "onnx"),
    ("slim10_w8", 32, "safetensors"),
    ("slim10_w8", 48, "huggingface"),
    ("resnet18", 32, "safetensors"),
    ("resnet18", 32, "torchvision"),
    ("resnet18", 64, "huggingface"),
    ("resnet18", 64, "timm"),
    ("resnet18", 64, "torchvision"),
    ("vit_tiny_patch16_224", 32, "huggingface"),
    ("vit_tiny_patch16_224", 32, "timm"),
    ("mobilenetv3_small_050", 32, "timm"),
    ("mobilenetv3_small_050", 32, "safetensors"),
]
SLOW: list[tuple[str, int, str]] = [
    *(("resnet50", 64, name) for name in ("huggingface", "onnx", "safetensors", "timm", "torchvision")),
    *(
        (name, 64, "onnx")
        for name in ("slim10", "resnet18", "vit_tiny_patch16_224", "mobilenetv3_small_050", "convnext_atto")
    ),
    *(("convnext_atto", 64, name) for name in ("huggingface", "timm", "safetensors")),
    *((name, 64, "torchvision") for name in ("resnet34", "resnext50_32x4d", "wide_resnet50_2", "densenet121")),
    ("resnet50d", 32, "safetensors"),
    ("slim10_w32", 64, "huggingface"),
]


def require(format: str) -> None:
    for package in NEEDED.get(format, ()):
        pytest.importorskip(package)


def trained(spec: EncoderSpec, size: int) -> Trained:
    """An encoder in which no tensor has its first values: a statistic that an export forgets is noticed."""
    model = untrained(spec, InputSpec(size, MEAN, STD))
    generator = torch.Generator().manual_seed(1)
    for name, tensor in model.net.encoder.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=generator)
            tensor.mul_(0.8 + 0.4 * noise).add_(0.1 * noise if tensor.ndim == 1 else 0)
        assert tensor.isfinite().all(), name
    model.net.eval()
    return model


@pytest.fixture(scope="module")
def model_at(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """A function that returns the folder of a stage with an encoder of this name and size."""
    folders: dict[Model, Path] = {}

    def folder_of(name: str, size: int) -> Path:
        if (name, size) not in folders:
            folders[name, size] = tmp_path_factory.mktemp(f"{name}-{size}")
            trained(EncoderSpec(name), size).save(folders[name, size])
        return folders[name, size]

    return folder_of


ModelAt = Callable[[str, int], Path]
ExportAt = Callable[[str, int, str], Export]


def picture(width: int = 150, height: int = 120) -> Image.Image:
    """Shapes with soft colors, as a photo."""
    image = Image.fromarray((np.indices((height, width)).sum(0) % 256).astype(np.uint8)).convert("RGB")
    drawing = ImageDraw.Draw(image)
    drawing.ellipse([20, 10, 90, 100], fill=(200, 60, 30))
    drawing.rectangle([70, 50, 140, 110], fill=(30, 90, 220))
    return image


def programs(card: str) -> list[str]:
    """The programs of a model card that load the export."""
    section = card.split("## How to load it")[1].split("## Preprocessing")[0]
    return [block.split("```")[0] for block in section.split("```python\n")[1:]]


@pytest.fixture(scope="module")
def export_at(model_at: ModelAt, tmp_path_factory: pytest.TempPathFactory) -> ExportAt:
    """A function that returns the export of an encoder of this name and size; each is made once."""
    exports: dict[tuple[str, int, str], Export] = {}

    def export_of(name: str, size: int, format: str) -> Export:
        require(format)
        if (name, size, format) not in exports:
            out = tmp_path_factory.mktemp("exports")
            (exports[name, size, format],) = divcon.export(model_at(name, size), out=out, format=format).exports
        return exports[name, size, format]

    return export_of


def check_programs(model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, closeness: float = 0.98) -> None:
    """Run each program of a model card; compare its features with those of the encoder, which cuts out a view its own way."""
    encoder = divcon.load(model)
    with torch.no_grad():
        ours = encoder(encoder.preprocess(picture())[None])
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "slim", raising=False)
    picture().save(folder.parent / "picture.png")
    for program in programs((folder / "README.md").read_text()):
        names: dict[str, Any] = {}
        exec(program.replace("picture.jpg", "../picture.png"), names)
        theirs = torch.as_tensor(names["features"])
        assert theirs.shape == ours.shape
        assert F.cosine_similarity(theirs, ours).item() > closeness


@pytest.mark.parametrize(
    ("name", "size", "format"), [*CASES, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)]
)
def test_an_export_loaded_by_its_library_gives_the_features_of_the_encoder(
    name: str,
    size: int,
    format: str,
    model_at: ModelAt,
    export_at: ExportAt,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    export = export_at(name, size, format)
    folder = Path(export.folder)
    record_property("largest difference", f"{name} {size} {format}: {export.difference:.1e}")
    assert export.difference <= (1e-4 if format == "onnx" else 1e-5)
    assert set(export.files) == {file.name for file in folder.iterdir()} - {"__pycache__"}
    check_programs(model_at(name, size), folder, monkeypatch)


REFUSALS = [
    (EncoderSpec("slim10_w8"), 32, "timm", "a network of divcon.*format=onnx or format=safetensors would work"),
    (EncoderSpec("slim10_w8"), 32, "torchvision", "a network of divcon"),
    (EncoderSpec("slim10_w8"), 32, "huggingface", "no network of transformers has one.*stem=own"),
    (EncoderSpec("resnet18"), 32, "timm", "small stem.*format=onnx or format=safetensors or format=torchvision would"),
    (EncoderSpec("resnet18"), 32, "huggingface", "small stem"),
    (EncoderSpec("resnet18", colors="edges"), 64, "torchvision", "edges"),
    (EncoderSpec("resnet18", colors="edges"), 64, "timm", "edges"),
    (EncoderSpec("slim10_w8", colors="edges"), 48, "huggingface", "edges"),
    (EncoderSpec("vit_tiny_patch16_224"), 32, "torchvision", "no network with the weights of vit_tiny.*format=timm"),
    (EncoderSpec("resnet50d"), 64, "torchvision", "no network with the weights of resnet50d"),
]


@pytest.mark.parametrize(("spec", "size", "format", "message"), REFUSALS)
def test_an_encoder_that_a_library_does_not_have_is_refused_in_words(
    spec: EncoderSpec, size: int, format: str, message: str, tmp_path: Path
) -> None:
    require(format)
    with pytest.raises(UsageError, match=message):
        divcon.export(untrained(spec, InputSpec(size)), out=tmp_path / "out", format=format)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("spec", [EncoderSpec("slim10_w8", colors="edges"), EncoderSpec("factors")])
def test_an_encoder_of_edges_or_factors_can_be_exported_as_safetensors(spec: EncoderSpec, tmp_path: Path) -> None:
    model = untrained(spec, InputSpec(16))
    assert divcon.export(model, out=tmp_path, format="safetensors").exports[0].difference <= 1e-5


def test_an_exported_encoder_is_loaded_as_the_run_it_comes_from(model_at: ModelAt, tmp_path: Path) -> None:
    model = model_at("slim10_w8", 32)
    divcon.export(model, out=tmp_path, format="safetensors")
    images, original = torch.randn(2, 3, 32, 32), divcon.load(model)
    for place in (tmp_path / "safetensors", tmp_path / "safetensors/encoder.safetensors"):
        encoder = divcon.load(place)
        assert torch.equal(encoder(images), original(images))
        assert encoder.preprocess == original.preprocess


@pytest.mark.parametrize(("name", "size", "format"), [case for case in CASES if case[2] != "safetensors"])
def test_the_files_of_another_library_are_not_loaded_and_the_error_says_what_is(
    name: str, size: int, format: str, export_at: ExportAt
) -> None:
    folder = Path(export_at(name, size, format).folder)
    weights = next(file for file in folder.iterdir() if file.name in OTHER_FORMATS)
    for place in (folder, weights):
        with pytest.raises(
            InputError, match=r"holds the encoder for another library; divcon loads runs, .*=safetensors"
        ):
            divcon.load(place)


def test_timm_loads_the_weights_by_checkpoint_path_too(model_at: ModelAt, tmp_path: Path) -> None:
    import timm

    model = model_at("resnet18", 64)
    divcon.export(model, out=tmp_path, format="timm")
    weights = tmp_path / "timm/model.safetensors"
    encoder = timm.create_model("resnet18", num_classes=0, checkpoint_path=weights).eval()
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(encoder(images), divcon.load(model)(images))


def test_timm_finds_our_preprocessing_and_puts_a_new_classifier_on_the_encoder(
    model_at: ModelAt, tmp_path: Path
) -> None:
    import timm

    divcon.export(model_at("resnet18", 64), out=tmp_path, format="timm")
    network = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True, num_classes=7)
    config = timm.data.resolve_model_data_config(network)
    assert network(torch.randn(2, 3, 64, 64)).shape == (2, 7)
    assert (tuple(config["input_size"]), tuple(config["mean"]), tuple(config["std"])) == ((3, 64, 64), MEAN, STD)
    assert (config["interpolation"], config["crop_mode"]) == ("bicubic", "center")
    assert math.floor(64 / config["crop_pct"]) == 74


def test_a_file_of_onnx_takes_batches_of_any_size_and_says_its_preprocessing(model_at: ModelAt, tmp_path: Path) -> None:
    require("onnx")
    import onnx
    import onnxruntime

    model = model_at("slim10_w8", 32)
    divcon.export(model, out=tmp_path, format="onnx")
    file = tmp_path / "onnx/model.onnx"
    session, encoder = onnxruntime.InferenceSession(file), divcon.load(model)
    for n in (1, 2, 5):
        pixels = made_pictures(32)[:n]
        (theirs,) = session.run(None, {"pixels": pixels.numpy()})
        assert difference(encoder(normalize(pixels, MEAN, STD)).detach(), torch.from_numpy(theirs)) < 1e-4
    loaded = onnx.load(file)
    metadata = {entry.key: entry.value for entry in loaded.metadata_props}
    assert loaded.opset_import[0].version == 18
    assert json.loads(metadata["preprocessing"])["mean"] == list(MEAN)


def tamper(folder: Path, format: str) -> None:
    """Make the weights of the first convolution in an export a hundredth too large."""
    if format == "onnx":
        import onnx
        from onnx import numpy_helper

        network = onnx.load(folder / "model.onnx")
        tensor = next(t for t in network.graph.initializer if tuple(t.dims[1:]) == (3, 3, 3))
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.01), tensor.name))
        onnx.save(network, folder / "model.onnx")
        return
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if weights[name].ndim == 4 and weights[name].shape[1] == 3)
    weights[name] *= 1.01
    save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize(("name", "size"), [("slim10_w8", 32), pytest.param("resnet18", 64, marks=pytest.mark.slow)])
def test_the_comparison_notices_any_tensor_that_is_a_hundredth_off(name: str, size: int, model_at: ModelAt) -> None:
    model = Trained.load(model_at(name, size))
    pixels = normalize(made_pictures(size), MEAN, STD)
    with torch.no_grad():
        expected = model.net.encoder(pixels)
        for tensor_name, tensor in model.net.encoder.state_dict().items():
            if tensor.is_floating_point():
                before = tensor.clone()
                tensor.mul_(1.01)
                assert difference(expected, model.net.encoder(pixels)) > 1e-5, tensor_name
                tensor.copy_(before)


@pytest.mark.parametrize(
    ("name", "size", "format"),
    [
        ("slim10_w8", 48, "huggingface"),
        ("slim10_w8", 32, "onnx"),
        ("resnet18", 64, "timm"),
        ("resnet18", 64, "torchvision"),
        ("resnet18", 64, "huggingface"),
    ],
)
def test_the_comparison_notices_changed_weights_in_the_files_of_an_export(
    name: str, size: int, format: str, model_at: ModelAt, export_at: ExportAt, tmp_path: Path
) -> None:
    model, target = Trained.load(model_at(name, size)), registry.format_named(format)
    folder = shutil.copytree(export_at(name, size, format).folder, tmp_path / "copy")
    assert largest_difference(model, target.load(folder)) <= target.tolerance
    tamper(folder, format)
    assert largest_difference(model, target.load(folder)) > 3 * target.tolerance


def test_a_changed_weight_of_our_own_format_is_noticed_by_its_hash(model_at: ModelAt, tmp_path: Path) -> None:
    divcon.export(model_at("slim10_w8", 32), out=tmp_path, format="safetensors")
    file = tmp_path / "safetensors/encoder.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(DamagedError, match="sha256"):
        safetensors_format.load(file.parent)(made_pictures(32))


def test_a_wrong_mean_in_the_files_of_an_export_is_noticed(model_at: ModelAt, tmp_path: Path) -> None:
    model = Trained.load(model_at("resnet18", 64))
    divcon.export(model, out=tmp_path, format="timm")
    file = tmp_path / "timm/config.json"
    config = json.loads(file.read_text())
    config["pretrained_cfg"]["mean"][0] += 0.01
    file.write_text(json.dumps(config))
    assert largest_difference(model, timm_format.load(file.parent)) > 1e-5


def test_an_export_that_gives_other_features_is_not_written(
    model_at: ModelAt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(model: Trained, folder: Path) -> None:
        real(model, folder)
        tamper(folder, "timm")

    real = timm_format.write
    monkeypatch.setattr(timm_format, "write", write)
    with pytest.raises(FaultError, match=r"features differ by .*nothing was written"):
        divcon.export(model_at("resnet18", 64), out=tmp_path, format="timm")
    assert list(tmp_path.iterdir()) == []


def test_features_that_are_not_finite_or_of_another_shape_count_as_different() -> None:
    features = torch.ones(2, 3)
    assert difference(features, features) == 0
    assert difference(features, features[:1]) == difference(features, features * math.nan) == math.inf
    assert difference(features, features * 1.5) == pytest.approx(0.5)


def test_an_older_export_is_replaced_and_any_other_folder_is_kept(model_at: ModelAt, tmp_path: Path) -> None:
    model = model_at("slim10_w8", 32)
    divcon.export(model, out=tmp_path, format="safetensors", license="mit")
    divcon.export(model, out=tmp_path, format="safetensors", license="cc-by-4.0")
    card = tmp_path / "safetensors/README.md"
    assert "license: cc-by-4.0" in card.read_text()
    card.write_text("changed by its owner")
    with pytest.raises(OwnedError, match="name another folder"):
        divcon.export(model, out=tmp_path, format="safetensors")
    assert card.read_text() == "changed by its owner"


def test_a_folder_with_a_file_of_the_users_is_not_replaced(model_at: ModelAt, tmp_path: Path) -> None:
    model = model_at("slim10_w8", 32)
    divcon.export(model, out=tmp_path, format="safetensors")
    (tmp_path / "safetensors/notes.txt").write_text("mine")
    with pytest.raises(OwnedError):
        divcon.export(model, out=tmp_path, format="safetensors")
    assert (tmp_path / "safetensors/notes.txt").read_text() == "mine"


def test_a_format_whose_package_is_missing_is_refused_with_the_command_that_installs_it(
    model_at: ModelAt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(package: str) -> str:
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(UsageError, match=r"onnx and onnxruntime and onnxscript, which are not.*divcon\[export\]"):
        divcon.export(model_at("slim10_w8", 32), out=tmp_path, format="onnx")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "onx"}, "did you mean 'onnx'"),
        ({"format": ""}, "format="),
        ({"format": "safetensors", "license": "none\nof your business"}, "short name of a license"),
    ],
)
def test_a_wrong_option_is_refused_before_any_work(
    options: dict[str, str], message: str, model_at: ModelAt, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        divcon.export(model_at("slim10_w8", 32), out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


MARKUP = "<script>alert(1)</script>|`x` ```\n# title ![](http://example.org)"


@pytest.fixture
def run_with_markup(model_at: ModelAt, tmp_path: Path) -> Path:
    """A run whose options and labeled folder have names that are markup, with scores."""
    run = tmp_path / "run"
    record = RunRecord(
        {"include": [MARKUP]}, {"recipe": MARKUP, "include": [MARKUP]}, {}, "f" * 64, 123, ["base"], "base"
    )
    (run / "base").mkdir(parents=True)
    record.write(run)
    Trained.load(model_at("slim10_w8", 32)).save(run / "base")
    scores = KnnScores(0.75, 0.5, 0.75, 0.7, {})
    tasks = {MARKUP: TaskScores("top-1", 0.125, {}, {}), "svm": TaskScores("", None, {}, {}, reason="few")}
    answer = EvaluateAnswer("run", 40, 28, 12, 3, 0, [], None, {}, scores, None, tasks)
    keep_scores(run, "base", f"labels/{MARKUP.replace('/', '')}", EvalKey("", [], 0, "pool", "fp32"), answer)
    return run


def test_a_model_card_shows_names_that_are_markup_as_text(run_with_markup: Path, tmp_path: Path) -> None:
    divcon.export(run_with_markup / "base", out=tmp_path, format="safetensors", license="mit")
    card = (tmp_path / "safetensors/README.md").read_text()
    assert "<script" not in card.replace("\\<script", "") and "\n# title" not in card
    assert "| 40 | 3 | 75.0% | - | " in card and "12.5% |\n" in card and "svm" not in card
    assert "of a run with 123 images" in card and "f" * 64 in card
    options = json.loads(card.split("```json\n")[1].split("\n```")[0])
    assert options["typed"] == {"include": [MARKUP]}


def test_the_metadata_of_a_model_card_are_those_of_the_hub(model_at: ModelAt, tmp_path: Path) -> None:
    divcon.export(model_at("resnet18", 64), out=tmp_path, format="timm,torchvision", license="apache-2.0")
    for name in ("timm", "torchvision"):
        _, head, text = (tmp_path / name / "README.md").read_text().split("---\n", 2)
        metadata = yaml.safe_load(head)
        assert metadata["library_name"] == name and metadata["license"] == "apache-2.0"
        assert metadata["pipeline_tag"] == "image-feature-extraction" and name in metadata["tags"]
        assert "does not lie in the folder of a run" in text


def test_the_resized_side_leaves_the_square_in_the_middle() -> None:
    for size in range(8, 2000):
        assert math.floor(size / timm_share(size)) == resized_side(size)
        assert (resized_side(size) - size) % 2 == 0
        assert abs(resized_side(size) - size / 0.875) <= 1


@pytest.mark.parametrize("size", [32, 64, 96])
def test_the_pixels_of_other_libraries_are_nearly_ours(size: int) -> None:
    """In levels of 255: Pillow's crop and resizing in one step is ours; the two steps of timm are a few levels away."""
    from timm.data import create_transform

    share = timm_share(size)
    transform = create_transform((3, size, size), crop_pct=share, interpolation="bicubic", mean=(0,) * 3, std=(1,) * 3)
    image, ours = picture(300, 240), Preprocess(InputSpec(size)).view(picture(300, 240)).astype(float)
    fitted = np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC, bleed=0.0625)).astype(float)
    resized = transform(image).permute(1, 2, 0).numpy() * 255
    assert np.abs(fitted - ours).mean() < 1 < np.abs(resized - ours).mean() < 12


def test_the_command_line_answers_with_each_export(
    model_at: ModelAt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import typer

    from divcon.cli import command_line

    words = ["export", str(model_at("resnet18", 64)), f"out={tmp_path}", "format=timm,safetensors", "--json"]
    with redirect_stdout(io.StringIO()) as shown:
        typer.main.get_command(command_line()).main(words, standalone_mode=False)
    exports = json.loads(shown.getvalue())["exports"]
    assert [export["format"] for export in exports] == ["timm", "safetensors"]
    assert all({"folder", "files", "difference"} < set(export) for export in exports)


def test_the_answer_has_the_fields_that_a_program_reads(model_at: ModelAt, tmp_path: Path) -> None:
    answer = divcon.export(model_at("slim10_w8", 32), out=tmp_path, format="safetensors")
    (export,) = fields_of(answer)["exports"]  # type: ignore[misc,union-attr]
    assert set(export) == {"format", "folder", "files", "difference"}  # type: ignore[arg-type]
    assert not (tmp_path / RUN).exists()
