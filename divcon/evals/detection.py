"""torchvision's Faster R-CNN on an encoder, and the average precision of its boxes as COCO counts it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data.labeled.boxes import Boxes
from ..data.pixels.pixels import Pixels
from ..machine import Machine
from ..nets.trained import InputSpec, Trained
from ..rng import seed_for, uniforms
from .average_precision import average_precision
from .dense import DenseTraining, descend, last_maps

THRESHOLDS = tuple(0.5 + 0.05 * step for step in range(10))  # of the overlap of a told box and a true one
POINTS = 101  # recalls at which COCO reads the precision


@dataclass(frozen=True)
class Detections:
    """The boxes that were told for an image, in the pixels of its file, their classes from 0, and their scores."""

    boxes: Float32[np.ndarray, "k 4"]
    classes: Int64[np.ndarray, " k"]
    scores: Float32[np.ndarray, " k"]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The shape of a detector: the short side of an image becomes `side` pixels; it learns from so many `regions` of an image at
    once, of twice as many that are proposed."""

    classes: int
    side: int
    regions: int
    seed: int


def faster_rcnn(encoder: nn.Module, spec: InputSpec, shape: Shape) -> nn.Module:
    """Return torchvision's Faster R-CNN on the last map of a copy of the encoder, with random heads."""
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.ops import MultiScaleRoIAlign

    maps, channels = last_maps(encoder, spec)
    backbone = _Backbone(maps, channels)
    sizes = tuple(max(4, shape.side // part) for part in (8, 4, 2, 1))
    network: nn.Module = FasterRCNN(
        backbone,
        shape.classes + 1,  # torchvision's class 0 is the background
        min_size=shape.side,
        max_size=2 * shape.side,
        image_mean=list(spec.mean),
        image_std=list(spec.std),
        rpn_anchor_generator=AnchorGenerator((sizes,), ((0.5, 1.0, 2.0),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 7, 2),
        box_batch_size_per_image=shape.regions,
        rpn_post_nms_top_n_train=2 * shape.regions,
        rpn_post_nms_top_n_test=2 * shape.regions,
    )
    return network


class _Backbone(nn.Module):
    """The maps of an encoder under the name, and with the number of channels, that torchvision's detectors want."""

    def __init__(self, maps: nn.Module, channels: int):
        super().__init__()
        self.maps, self.out_channels = maps, channels

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> dict[str, Float[Tensor, "b c h2 w2"]]:
        return {"0": self.maps(images)["out"]}


class Detector:
    """A Faster R-CNN on a copy of a model's encoder. It computes in float32: torchvision's box operations have no other type."""

    def __init__(self, pixels: Pixels, boxes: Sequence[Boxes], machine: Machine, network: nn.Module):
        self.pixels, self.boxes, self.machine, self.network = pixels, boxes, machine, network.to(machine.device)

    @classmethod
    def of(cls, model: Trained, pixels: Pixels, boxes: Sequence[Boxes], machine: Machine, shape: Shape) -> Self:
        """Return a detector with a new head, whose weights the seed of its shape decides."""
        torch.manual_seed(seed_for(shape.seed, "detection head"))
        return cls(pixels, boxes, machine, faster_rcnn(model.net.encoder, model.input_spec, shape))

    def fit(self, positions: NDArray[np.int64], recipe: DenseTraining, sizes: Sequence[tuple[int, int]]) -> None:
        """Train all layers on the images at `positions`, half of them flipped; `sizes` are widths and heights of all files."""
        network = self.network.train()

        def batch_loss(shown: NDArray[np.int64], epochs: NDArray[np.int64]) -> Tensor:
            images, targets = self._batch(shown, epochs, sizes, recipe.seed)
            losses: dict[str, Tensor] = network(images, targets)
            return torch.stack(list(losses.values())).sum()

        descend(network, batch_loss, positions, recipe, "detection", least=1)

    def _batch(
        self, positions: NDArray[np.int64], epochs: NDArray[np.int64], sizes: Sequence[tuple[int, int]], seed: int
    ) -> tuple[list[Float[Tensor, "3 h w"]], list[dict[str, Tensor]]]:
        """Return the images in 0..1, and for each its boxes in pixels of the image shown, with classes from 1."""
        flip = uniforms((seed, "flip"), positions + epochs * len(self.pixels), 1)[:, 0] < 0.5
        images, targets = self._images(positions), []
        for i, position in enumerate(positions.tolist()):
            true, (height, width) = self.boxes[position], images[i].shape[1:]
            boxes = torch.from_numpy(true.boxes * scale(sizes[position], (width, height)))
            boxes[:, 0::2], boxes[:, 1::2] = boxes[:, 0::2].clamp(0, width), boxes[:, 1::2].clamp(0, height)
            if flip[i]:
                images[i], boxes[:, 0::2] = images[i].flip(2), width - boxes[:, [2, 0]]
            seen = (boxes[:, 2:] > boxes[:, :2]).all(1)
            target = {"boxes": boxes[seen], "labels": torch.from_numpy(true.classes)[seen] + 1}
            targets.append({name: value.to(self.machine.device) for name, value in target.items()})
        return images, targets

    def _images(self, positions: NDArray[np.int64]) -> list[Float[Tensor, "3 h w"]]:
        packed, rows = self.pixels.read(positions)
        arrays = [torch.from_numpy(np.array(packed[int(row)])) for row in rows]
        return [(array.permute(2, 0, 1).float() / 255).to(self.machine.device) for array in arrays]

    @torch.no_grad()
    def detect(self, position: int, size: tuple[int, int]) -> Detections:
        """Return the boxes of an image whose file has this width and height."""
        (image,) = self._images(np.array([position]))
        (found,) = self.network.eval()([image])
        boxes = found["boxes"].cpu().numpy() * scale((image.shape[2], image.shape[1]), size)
        labels, scores = (found[name].cpu().numpy() for name in ("labels", "scores"))
        return Detections(boxes.astype(np.float32), labels.astype(np.int64) - 1, scores)


def scale(old: tuple[int, int], new: tuple[int, int]) -> Float32[np.ndarray, " 4"]:
    """Return the factors of left, top, right and bottom from one width and height to another."""
    return np.array([new[0] / old[0], new[1] / old[1]] * 2, np.float32)


def box_precision(
    told: Sequence[Detections], true: Sequence[Boxes], classes: int, threshold: float
) -> list[float | None]:
    """Return the average precision of each class, by 101 points, where a told box is right if it overlaps a true one by the
    threshold; None for a class without a true box."""
    return [_precision_of(told, true, label, threshold) for label in range(classes)]


def _precision_of(told: Sequence[Detections], true: Sequence[Boxes], label: int, threshold: float) -> float | None:
    total = sum(int((one.classes == label).sum()) for one in true)
    scores, right = [], []
    for found, truth in zip(told, true, strict=True):
        mine = found.classes == label
        scores.append(found.scores[mine])
        right.append(matched(found.boxes[mine], found.scores[mine], truth.boxes[truth.classes == label], threshold))
    if not total:
        return None
    return average_precision(np.concatenate(scores), np.concatenate(right), points=POINTS, total=total)


def matched(
    boxes: Float32[np.ndarray, "k 4"],
    scores: Float32[np.ndarray, " k"],
    true: Float32[np.ndarray, "t 4"],
    threshold: float,
) -> Bool[np.ndarray, " k"]:
    """Return which told boxes are right: by falling scores, each takes the true box that it overlaps most and that no other
    has taken."""
    overlap = box_overlaps(boxes, true)
    right = np.zeros(len(boxes), bool)
    for i in np.argsort(-scores, kind="stable") if len(true) else ():
        best = int(overlap[i].argmax())
        if overlap[i, best] >= threshold:
            right[i] = True
            overlap[:, best] = -1  # taken
    return right


def box_overlaps(a: Float32[np.ndarray, "k 4"], b: Float32[np.ndarray, "t 4"]) -> NDArray[np.float64]:
    """Return the area that two boxes share, over the area that either has."""
    first, second = a.astype(np.float64)[:, None], b.astype(np.float64)[None]
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    shared = sides.clip(0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(-1) for boxes in (first, second)]
    overlap: NDArray[np.float64] = shared / np.maximum(areas[0] + areas[1] - shared, 1e-12)
    return overlap
