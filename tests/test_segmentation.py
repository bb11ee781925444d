"""A class for each pixel: the layout, the counting of overlaps, and an FCN that learns colored boxes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import confusion_matrix as oracle
from sklearn.metrics import jaccard_score
from test_pipeline import typed

import divcon
from divcon.api.models import find_model
from divcon.data.labeled.masks import open_masks, read_mask
from divcon.errors import DataError, UsageError
from divcon.evals.dense import fcn
from divcon.evals.overlap import confusion_matrix, overlaps
from divcon.nets.encoder import EncoderSpec
from divcon.nets.trained import InputSpec, untrained

UNTRAINED = "random:slim10_w8"
COLORS = [(0, 0, 0), (220, 40, 40), (40, 60, 230)]


def boxes(number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A gray picture with a red and a blue box, and the class of each pixel; 255 around the boxes."""
    rng = np.random.default_rng(number)
    picture, mask = rng.integers(90, 140, (48, 64, 3), np.uint8), np.zeros((48, 64), np.uint8)
    for label, left in ((1, 0), (2, 32)):
        top, x = int(rng.integers(2, 18)), left + int(rng.integers(2, 8))
        mask[top - 1 : top + 25, x - 1 : x + 21] = 255
        mask[top : top + 24, x : x + 20] = label
        picture[top : top + 24, x : x + 20] = COLORS[label]
    return picture, mask


def write(root: Path, n: int = 30, test: int = 8) -> Path:
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for number in range(n):
        picture, mask = boxes(number)
        Image.fromarray(picture).save(root / "JPEGImages" / f"{number:03}.png")
        paletted = Image.fromarray(mask, "P")
        paletted.putpalette([value for color in COLORS for value in color] + [9] * 759)
        paletted.save(root / "SegmentationClass" / f"{number:03}.png")
    for part, numbers in {"train": range(n - test), "val": range(n - test, n)}.items():
        (root / "ImageSets" / "Segmentation" / f"{part}.txt").write_text("".join(f"{i:03}\n" for i in numbers))
    return root


def test_overlaps_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    mask, told = rng.integers(0, 3, (20, 30)).astype(np.uint8), rng.integers(0, 4, (20, 30))
    mask[rng.random(mask.shape) < 0.2] = 255
    counts, known = confusion_matrix(mask, told, 4), mask != 255
    assert np.array_equal(counts, oracle(mask[known], told[known], labels=range(4)))
    theirs = jaccard_score(mask[known], told[known], labels=range(4), average=None)
    assert overlaps(counts)[:3] == pytest.approx(theirs[:3]) and overlaps(counts)[3] is None


def test_masks_are_read_as_numbers_and_not_as_colors(tmp_path: Path, cache: Path) -> None:
    data = open_masks(write(tmp_path / "voc"), cache=cache)
    assert data.classes == ["0", "1", "2"] and (len(data.train), len(data.test)) == (22, 8)
    names = data.images.names(np.arange(30))
    for name, file in zip(names, data.files, strict=True):
        number = int(Path(name.decode()).stem)
        assert file.stem == f"{number:03}" and np.array_equal(read_mask(file), boxes(number)[1])


def test_masks_that_can_not_be_used_are_named(tmp_path: Path, cache: Path) -> None:
    root = write(tmp_path / "voc", 6, 2)
    (root / "SegmentationClass" / "000.png").unlink()
    assert open_masks(root, cache=cache).left_out == {"no_image_or_mask": 1}
    before = open_masks(root, cache=cache).fingerprint
    Image.fromarray(np.ones((48, 64), np.uint8)).save(root / "SegmentationClass" / "001.png")
    assert open_masks(root, cache=cache).fingerprint != before
    Image.new("RGB", (64, 48)).save(root / "SegmentationClass" / "001.png")
    with pytest.raises(DataError, match=r"001\.png is no mask"):
        open_masks(root, cache=cache)
    (root / "SegmentationClass" / "001.png").write_bytes(b"\x89PNG no")
    with pytest.raises(DataError, match=r"001\.png can't be read"):
        open_masks(root, cache=cache)
    for wrong in ("train,test", "train", "../train,val"):
        with pytest.raises(UsageError, match="two lists"):
            open_masks(root, split=wrong, cache=cache)


@pytest.mark.parametrize(("part", "named"), [("train", range(4)), ("test", range(4, 6))])
def test_masks_in_which_no_pixel_counts_have_no_score(part: str, named: range, tmp_path: Path) -> None:
    root = write(tmp_path / "voc", 6, 2)
    for number in named:
        Image.fromarray(np.full((48, 64), 255, np.uint8)).save(root / "SegmentationClass" / f"{number:03}.png")
    with pytest.raises(DataError, match=f"no pixel of the {part}(ing)? images has a class that counts"):
        divcon.evaluate(UNTRAINED, root, tasks="segmentation", settings={"segmentation.epochs": 1})


def test_a_network_learns_the_boxes_and_is_the_same_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    root = str(write(tmp_path / "voc"))
    words = [
        "eval",
        UNTRAINED,
        root,
        "tasks=segmentation",
        "segmentation.epochs=12",
        "segmentation.batch_size=8",
        "--json",
    ]
    answers = []
    for _ in range(2):
        assert typed(words) == 0
        answers.append(json.loads(capsys.readouterr().out))
    found = answers[0]["tasks"]["segmentation"]
    assert answers[0] == answers[1] and (answers[0]["train"], answers[0]["test"]) == (22, 8)
    assert found["score"] == pytest.approx(np.mean(list(found["per_class"].values()))) and found["score"] > 0.55
    with pytest.raises(UsageError, match="these have a class for each pixel"):
        divcon.evaluate(UNTRAINED, root, tasks="segmentation,knn")


def test_the_network_is_torchvisions_on_a_copy_of_the_encoder() -> None:
    model = find_model(UNTRAINED)
    network = fcn(model.net.encoder, model.input_spec, 5).eval()
    assert network(torch.zeros(2, 3, 40, 56))["out"].shape == (2, 5, 40, 56)
    copied = dict(network.named_parameters())["backbone.encoder.conv1.weight"]
    assert torch.equal(copied, model.net.encoder.conv1.weight) and copied is not model.net.encoder.conv1.weight


@pytest.mark.parametrize(("name", "fits"), [("resnet18", True), ("vit_tiny_patch16_224", False)])
def test_a_network_of_timm_gives_its_last_map_if_it_has_one(name: str, fits: bool) -> None:
    model = untrained(EncoderSpec(name), InputSpec(224))
    if not fits:
        with pytest.raises(UsageError, match="convolutional"):
            fcn(model.net.encoder, model.input_spec, 3)
        return
    network = fcn(model.net.encoder, model.input_spec, 3).eval()
    assert network(torch.zeros(1, 3, 64, 64))["out"].shape == (1, 3, 64, 64)
