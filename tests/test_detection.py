"""Boxes around objects: COCO's layout, the average precision beside a loop, and a Faster R-CNN that learns colored boxes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slow
import torch
from numpy.typing import NDArray
from PIL import Image
from test_pipeline import typed
from torchvision.ops import box_iou

import divcon
from divcon.api.models import find_model
from divcon.data.labeled.boxes import Boxes, open_boxes
from divcon.data.pixels.pixel_cache import open_pixels
from divcon.errors import DamagedError, DataError, UsageError
from divcon.evals.detection import Detections, Detector, Shape, box_overlaps, box_precision, matched
from divcon.machine import Machine

UNTRAINED = "random:slim10_w8"
COLORS = [(230, 40, 40), (40, 60, 230)]


def random_boxes(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
    corner = rng.uniform(0, 60, (n, 2))
    return np.concatenate([corner, corner + rng.uniform(5, 40, (n, 2))], 1).astype(np.float32)


def test_overlaps_are_torchvisions() -> None:
    rng = np.random.default_rng(0)
    a, b = random_boxes(rng, 20), random_boxes(rng, 30)
    assert box_overlaps(a, b) == pytest.approx(box_iou(torch.from_numpy(a), torch.from_numpy(b)).numpy(), abs=1e-5)


@pytest.mark.parametrize("threshold", [0.5, 0.75])
def test_the_average_precision_is_that_of_the_loop(threshold: float) -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        true = [Boxes(random_boxes(rng, n), np.zeros(n, np.int64)) for n in (3, 0, 5, 1)]
        told = []
        for one in true:
            near = np.repeat(one.boxes, 2, 0) + rng.normal(0, 2, (2 * len(one.boxes), 4)).astype(np.float32)
            boxes = np.concatenate([near, random_boxes(rng, 2)])
            scores = (rng.integers(0, 8, len(boxes)) / 8).astype(np.float32)
            told.append(Detections(boxes, np.zeros(len(boxes), np.int64), scores))
        pairs = [list(zip(each.boxes.tolist(), each.scores.tolist())) for each in told]
        expected = slow.box_precision(pairs, [one.boxes.tolist() for one in true], threshold)
        assert box_precision(told, true, 2, threshold) == [pytest.approx(expected), None]


def test_a_true_box_is_found_once_and_boxes_that_nobody_told_lower_the_precision() -> None:
    true = np.array([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32)
    twice = np.array([[0, 0, 10, 10], [0, 0, 10, 9]], np.float32)
    assert matched(twice, np.array([0.5, 0.9], np.float32), true, 0.5).tolist() == [False, True]
    labels, boxes = np.zeros(2, np.int64), Boxes(true, np.zeros(2, np.int64))
    half = box_precision([Detections(twice[:1], labels[:1], np.ones(1, np.float32))], [boxes], 1, 0.5)
    assert half == [pytest.approx(51 / 101)]
    nothing = Detections(twice[:0], labels[:0], np.ones(0, np.float32))
    assert box_precision([nothing], [boxes], 1, 0.5) == [0.0]
    perfect = Detections(true, labels, np.array([0.3, 0.2], np.float32))
    assert box_precision([perfect], [boxes], 1, 0.95) == [1.0]


# the layout


def write(root: Path, n: int = 28, val: int = 8) -> Path:
    """Gray pictures with a red and a blue box in COCO's layout; the numbers of classes have a gap."""
    content: dict[str, dict[str, list[dict[str, Any]]]] = {
        part: {"images": [], "annotations": [], "categories": [{"id": 3, "name": "red"}, {"id": 7, "name": "blue"}]}
        for part in ("train2017", "val2017")
    }
    (root / "annotations").mkdir(parents=True)
    for number in range(n):
        part, rng = "val2017" if number < val else "train2017", np.random.default_rng(number)
        (root / part).mkdir(exist_ok=True)
        picture = rng.integers(90, 140, (96, 128, 3), np.uint8)
        content[part]["images"].append({"id": 100 + number, "file_name": f"{number:04}.png", "license": 1})
        for i, category in enumerate((3, 7)):
            width, height = (int(side) for side in rng.integers(30, 50, 2))
            left, top = 64 * i + int(rng.integers(0, 64 - width)), int(rng.integers(0, 96 - height))
            picture[top : top + height, left : left + width] = COLORS[i]
            box = {"image_id": 100 + number, "category_id": category, "bbox": [left, top, width, height], "iscrowd": 0}
            content[part]["annotations"].append(box)
        Image.fromarray(picture).save(root / part / f"{number:04}.png")
    for part, found in content.items():
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(found))
    return root


def changed(root: Path, part: str, **new: list[dict[str, Any]]) -> None:
    file = root / "annotations" / f"instances_{part}.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({name: value + new.get(name, []) for name, value in content.items()}))


def test_boxes_are_read_by_image_and_class(tmp_path: Path, cache: Path) -> None:
    root = write(tmp_path / "coco")
    nothing = {"image_id": 100, "category_id": 3}
    bad = [{**nothing, "bbox": [0, 0, 9, 9], "iscrowd": 1}, {**nothing, "bbox": [0, 0, 0, 9]}]
    changed(root, "val2017", annotations=bad, images=[{"id": 9, "file_name": "../annotations/x.png"}])
    data = open_boxes(root, cache=cache)
    assert data.classes == ["red", "blue"] and (len(data.train), len(data.test)) == (20, 8)
    assert data.left_out == {"no_image": 1} and all(len(one.boxes) == 2 for one in data.boxes)
    for name, one in zip(data.images.names(np.arange(28)), data.boxes, strict=True):
        picture = np.array(Image.open(root / name.decode()))
        for box, label in zip(one.boxes.astype(int), one.classes, strict=True):
            left, top, right, bottom = box
            assert (picture[top:bottom, left:right] == COLORS[label]).all()


def test_names_that_no_file_can_have_are_left_out_and_those_of_classes_can_be_written(
    tmp_path: Path, cache: Path
) -> None:
    """JSON can write half of a pair of surrogates, which UTF-8 can't."""
    root = write(tmp_path / "coco", 6, 3)
    changed(root, "val2017", images=[{"id": 9, "file_name": "\ud800.png"}], categories=[{"id": 8, "name": "\ud800"}])
    data = open_boxes(root, cache=cache)
    assert data.left_out == {"no_image": 1} and data.classes == ["red", "blue", "\\ud800"]


def test_files_that_can_not_be_used_are_named(tmp_path: Path, cache: Path) -> None:
    root = write(tmp_path / "coco", 6, 3)
    for wrong in ("train2017,test2017", "train2017", "../train2017,val2017"):
        with pytest.raises(UsageError, match=r"instances_train\.json"):
            open_boxes(root, split=wrong, cache=cache)
    with pytest.raises(DataError, match="with their boxes"):
        open_boxes(root, exclude="val2017/*", cache=cache)
    changed(root, "val2017", annotations=[{"image_id": 1, "category_id": 3, "bbox": [1, 2, 3]}])
    with pytest.raises(DamagedError, match=r"instances_val2017\.json.*annotations\.6\.bbox"):
        open_boxes(root, cache=cache)
    (root / "annotations" / "instances_val2017.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"instances_val2017\.json can't be read"):
        open_boxes(root, cache=cache)


# the network


def test_flipped_and_shrunk_images_keep_their_boxes(tmp_path: Path, cache: Path) -> None:
    data, model = open_boxes(write(tmp_path / "coco"), cache=cache), find_model(UNTRAINED)
    pixels = open_pixels(data.images, 48, cache=cache, cache_gb=1, workers=1)
    shape = Shape(classes=2, side=48, regions=32, seed=0)
    detector = Detector.of(model, pixels, data.boxes, Machine(), shape)
    sizes, positions = [(128, 96)] * 28, np.arange(12)
    images, targets = detector._batch(positions, np.zeros(12, np.int64), sizes, 0)
    again, _ = detector._batch(positions, np.ones(12, np.int64), sizes, 0)
    assert any(not torch.equal(a, b) for a, b in zip(images, again)) and images[0].shape[1] < 96
    for image, target in zip(images, targets, strict=True):
        for box, label in zip(target["boxes"].round().int().tolist(), target["labels"].tolist(), strict=True):
            inside = image[:, box[1] + 2 : box[3] - 2, box[0] + 2 : box[2] - 2]
            color = torch.tensor(COLORS[label - 1]) / 255
            assert (inside.mean((1, 2)) - color).abs().max() < 0.1


@pytest.mark.slow
def test_a_network_learns_the_boxes(tmp_path: Path, capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    words = ["eval", UNTRAINED, str(write(tmp_path / "coco")), "tasks=detection", "--json"]
    settings = {"epochs": 16, "batch_size": 4, "regions": 24, "rate": 0.02}
    assert typed([*words, *(f"detection.{name}={value}" for name, value in settings.items())]) == 0
    found = json.loads(capsys.readouterr().out)["tasks"]["detection"]
    assert found["more"]["AP50"] > 0.3 and found["more"]["AP75"] <= found["more"]["AP50"]
    assert found["score"] == pytest.approx(np.mean(list(found["per_class"].values())))


def test_a_training_of_boxes_is_the_same_again(tmp_path: Path, cache: Path) -> None:
    root = write(tmp_path / "coco", 8, 4)
    quick = {"detection.epochs": 2, "detection.batch_size": 2, "detection.regions": 8}
    first, second = (divcon.evaluate(UNTRAINED, root, tasks="detection", settings=quick) for _ in range(2))
    assert first == second and first.tasks["detection"].score is not None
