"""Many trainings at once take the steps of the training loop, and their losses are those of slow loops and of the product."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import divcon
from divcon.api import run_plan
from divcon.data.pixels.packed import PackedImages
from divcon.data.pixels.pixel_cache import open_pixels
from divcon.methods.contract import Batch, Step
from divcon.methods.distill import Distill
from divcon.methods.settings import SMALL_LR, SMALL_WEIGHT_DECAY
from divcon.nets.net import Net
from divcon.nets.slim import SlimResNet
from divcon.nets.teacher import Teacher
from divcon.nets.trained import Trained
from studies.many import page, plans, workers
from studies.many.piles import LabelSet, joined, pack, unpack
from studies.many.slots import Slot, Training
from studies.many.student import Student, Targets, Weights, affine
from studies.many.views import ViewPool, as_input, center_views, epoch_views
from studies.many.ways import Trained as Kept
from studies.many.ways import Way, new_moclr, targets_of

OPTIONS: dict[str, Any] = {
    "recipe": "moclr", "encoder": "slim10_w8", "size": 32, "epochs": 2, "precision": "fp32", "channels_last": True,
    "device": "cpu",
}  # fmt: skip


def pool_of(packed: PackedImages, epochs: int) -> ViewPool:
    pool = ViewPool.empty(len(packed), epochs, "cpu")
    pool.centers.copy_(torch.from_numpy(center_views(packed)))
    for epoch in range(epochs):
        pool.put(epoch, epoch_views(packed, epoch))
    return pool


def test_a_training_in_a_slot_ends_with_the_weights_of_the_training_loop(
    photos: Path, cache: Path, tmp_path: Path
) -> None:
    """The second training of a slot, so that nothing of the first one may be left."""
    divcon.run(photos, out=tmp_path / "run", **OPTIONS)
    images = run_plan.prepare_run(photos, tmp_path / "plan", OPTIONS).images
    packed, rows = open_pixels(images, 64, cache=cache, cache_gb=1, workers=1).read(np.arange(len(images)))
    pool = pool_of(PackedImages.from_arrays([packed[int(row)] for row in rows]), epochs=2)
    steps = round(2 * len(images) / 16)
    slot = Slot(new_moclr(8, 3), pool, 16, steps, SMALL_WEIGHT_DECAY, graph=False)
    for seed in (1, 0):
        shown = pool.rows(np.arange(len(images)), steps, 16, seed, 0)
        slot.begin(Training.of(new_moclr(8, seed), shown, SMALL_LR))
        while not slot.ended():
            slot.go_on()
    ours, its = slot.method.net.state_dict(), Trained.load(tmp_path / "run" / "base").net.state_dict()
    for name, value in its.items():
        if not name.endswith("num_batches_tracked"):
            assert (ours[name] - value).norm() <= 2e-2 * value.norm() + 1e-6, name
    start = new_moclr(8, 0).net.state_dict()
    moved = sum(float((its[name] - value).norm()) for name, value in start.items() if value.ndim > 1)
    apart = sum(float((its[name] - ours[name]).norm()) for name, value in start.items() if value.ndim > 1)
    assert apart < 0.02 * moved


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


@pytest.fixture
def targets() -> Targets:
    n, teachers, dim = 12, 3, 64
    return Targets(
        drawn(n, teachers, dim), drawn(n, teachers).abs(), F.normalize(drawn(n, dim), dim=1), F.normalize(drawn(n, dim) + 1, dim=1),
        torch.arange(n) % 2, torch.arange(n) % 4, drawn(teachers, dim, dim) / 8, drawn(teachers, dim),
    )  # fmt: skip


def loss_of(targets: Targets, weights: Weights, index: Tensor) -> tuple[float, Student, list[Tensor]]:
    torch.manual_seed(0)
    student = Student(SlimResNet(8), targets, weights, 4, hidden=32, dim=16).eval()
    views = [drawn(len(index), 3, 32, 32), drawn(len(index), 3, 32, 32) + 0.5]
    outcome = student(Batch(views, index), Step(0, 1, 0))
    return float(outcome.loss.detach()), student, [student.net(view, "pool") for view in views]


def test_regression_is_the_mean_over_views_of_each_teachers_distance_by_its_share(targets: Targets) -> None:
    index = torch.tensor([3, 8, 1, 5])
    loss, _, pools = loss_of(targets, Weights(), index)
    slow = 0.0
    for pool in pools:
        for row, i in enumerate(index.tolist()):
            for t in range(3):
                told = pool[row] @ targets.maps[t] + targets.shifts[t]
                slow += float(targets.shares[i, t] * (told - targets.features[i, t]).square().sum()) / len(index) / 2
    assert loss == pytest.approx(slow, rel=1e-4)


def test_likeness_to_an_expert_is_the_cross_entropy_over_the_other_images_of_the_cluster(targets: Targets) -> None:
    index = torch.tensor([3, 8, 1, 5])
    weights = Weights(regress=0, expert_alike=1, teacher_temperature=0.2, student_temperature=0.3)
    loss, _, pools = loss_of(targets, weights, index)
    slow = 0.0
    for pool in pools:
        for row, i in enumerate(index.tolist()):
            cluster = int(targets.cluster[i])
            z = F.normalize(pool[row] @ targets.maps[cluster + 1] + targets.shifts[cluster + 1], dim=0)
            same = [j for j in range(12) if targets.cluster[j] == cluster]
            p = F.softmax(torch.stack([targets.expert[i] @ targets.expert[j] for j in same]) / 0.2, 0)
            q = F.log_softmax(torch.stack([z @ targets.expert[j] for j in same]) / 0.3, 0)
            slow -= float((p * q).sum()) / len(index) / 2
    assert loss == pytest.approx(slow, rel=1e-4)


def test_weights_of_zero_leave_only_the_students_own_loss(targets: Targets) -> None:
    index = torch.tensor([3, 8, 1, 5])
    own, student, _ = loss_of(targets, Weights(own=1, regress=0), index)
    half, _, _ = loss_of(targets, Weights(own=0.5, regress=0), index)
    moclr = new_moclr(8, 0)
    assert half == pytest.approx(own / 2, rel=1e-5)
    assert own > 0 and type(student.target) is type(moclr.target)


def kept(pool: Tensor) -> Kept:
    return Kept({}, pool.numpy(), pool.numpy(), 0.0)


def test_targets_of_clusters_give_the_loss_of_dncs_own_student() -> None:
    """The same encoder, the same teachers' features: `divcon.methods.distill` and the search's student agree."""
    n, d, cluster = 40, 64, np.arange(40) % 2
    base, experts = drawn(n, d), [drawn(n, d, 1)[:, :, 0] + 1, 2 * drawn(n, d, 1, 1)[:, :, 0, 0]]
    way = Way(base_share=0.25)
    targets = targets_of(way, kept(base), [kept(pool) for pool in experts], cluster, most=2)
    teachers = [Teacher(Net(SlimResNet(8)), "pool", base)]
    teachers += [Teacher(Net(SlimResNet(8)), "pool", pool[cluster == k]) for k, pool in enumerate(experts)]
    own = torch.stack(experts)[torch.from_numpy(cluster), torch.arange(n)]
    told = torch.stack(
        [
            teachers[0].normalize(base),
            torch.stack([teachers[1 + k].normalize(own[i : i + 1])[0] for i, k in enumerate(cluster)]),
        ],
        1,
    )
    torch.manual_seed(0)
    encoder = SlimResNet(8)
    distill = Distill(encoder, n, teachers, torch.from_numpy(cluster), lambda at: told[at], base_share=0.25)
    start = Net(encoder)
    distill.start_from(start)
    student = Student(encoder, targets, way.weights, 4)
    batch = Batch([drawn(8, 3, 32, 32), drawn(8, 3, 32, 32) + 1], torch.arange(8) * 3)
    theirs = distill.eval()(batch, Step(0, 1, 0)).loss
    assert float(student.eval()(batch, Step(0, 1, 0)).loss) == pytest.approx(float(theirs), rel=1e-4)


def test_whitened_targets_have_the_identity_as_covariance() -> None:
    x = drawn(4000, 8) * torch.linspace(1, 2, 8)
    a, shift = affine(x, whiten=True)
    white = x @ a + shift
    assert torch.allclose(white.T @ white / len(white) * 8, torch.eye(8), atol=0.05)


def test_a_packed_pile_comes_back_with_its_labels(tmp_path: Path) -> None:
    arrays = [np.full((4 + i, 5, 3), i, np.uint8) for i in range(5)]
    labels = {"kind": LabelSet(np.array([0, 2]), np.array([1, 0]), True)}
    pack(PackedImages.from_arrays(arrays), np.array([4, 1, 2]), labels, tmp_path / "one.npz")
    one = unpack(tmp_path / "one.npz")
    assert one.name == "one" and [int(one.packed[i][0, 0, 0]) for i in range(3)] == [4, 1, 2]
    both = joined("both", [one, replace(one, name="other")])
    assert len(both) == 6 and both.labels["other"].positions.tolist() == [3, 5]
    assert int(both.packed[5][0, 0, 0]) == 2


def test_random_parts_have_the_sizes_of_the_clusters() -> None:
    labels = np.array([0] * 70 + [1] * 20 + [2] * 10)
    parts = workers.random_parts(labels, 3)
    assert np.bincount(parts).tolist() == [70, 20, 10] and (parts != labels).sum() > 20


def row(line: str, seed: int, whitened: float, linear: float) -> dict[str, Any]:
    validation = {"knn": whitened, "whitened": whitened, "linear": linear}
    labels = {"a": {"validation": validation}, "leaf": {"validation": {"knn": 0.0, "whitened": 0.0}}}
    where = {"pile": "openclipart", "width": 8, "passes": 30, "images": 100}
    return {"line": line, "seed": seed, "labels": labels, "device": "one", "torch": "2", **where}


def test_ways_are_ranked_by_their_gain_over_moclr_of_the_same_seed() -> None:
    rows = [row("moclr", 0, 0.5, 0.5), row("dnc", 0, 0.6, 0.5), row("moclr", 1, 0.7, 0.5), row("dnc", 1, 0.7, 0.5)]
    assert plans.ranked(rows)[0] == ("dnc", pytest.approx(2.5))


def test_views_of_the_pool_are_normalized_as_the_product_does() -> None:
    from divcon.nets.trained import InputSpec
    from divcon.train.encode import normalized

    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    assert torch.allclose(as_input(torch.from_numpy(pixels)), normalized(pixels, InputSpec(32)), atol=1e-6)


def test_the_page_compares_each_way_with_moclr_of_the_same_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seed without MoCLR is in the mean, and in no difference."""
    rows = [row("moclr", 0, 0.5, 0.5), row("moclr", 1, 0.6, 0.5), row("dnc", 0, 0.51, 0.49), row("dnc", 1, 0.63, 0.5)]
    rows += [row("dnc", 2, 0.9, 0.9), row("random parts", 0, 0.50, 0.47)]
    (tmp_path / "one.jsonl").write_text("".join(json.dumps(its) + "\n" for its in rows))
    monkeypatch.setattr(page, "ROWS", tmp_path)
    monkeypatch.setattr(page, "PAGE", tmp_path / "page.md")
    page.draw()
    text = (tmp_path / "page.md").read_text()
    assert "## Open Clip Art, width 8, 30 passes" in text
    assert (
        "| dnc | 68.0 ± 20.0 | 68.0 ± 20.0 | 63.0 ± 23.4 | +2.0 ± 1.0 (2) | +2.0 ± 1.0 (2) | -0.5 ± 0.5 (2) | 3 | 100 |"
        in text
    )
    assert "| clusters less random parts | +1.0 (1) | +1.0 (1) | +2.0 (1) |" in text


def test_every_line_of_the_plans_is_a_way_or_a_control() -> None:
    for name, plan in plans.PLANS.items():
        specs = plan()
        lines = {spec.line for spec in specs if spec.way is not None}
        assert lines <= {*plans.DIVIDED, *plans.CONTROLS} and len(set(specs)) == len(specs), name
        assert all(sum(spec.way.shares) == pytest.approx(1) for spec in specs if spec.way)
