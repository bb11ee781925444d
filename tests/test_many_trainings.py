"""Many trainings at once take the steps of the training loop, and their losses are those of slow loops and of the product."""

import asyncio
import json
import subprocess
import sys
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
from divcon.errors import DataError, InputError
from divcon.methods.contract import Batch, Step
from divcon.methods.distill import Distill
from divcon.methods.settings import SMALL_LR, SMALL_WEIGHT_DECAY
from divcon.nets.net import Net
from divcon.nets.slim import SlimResNet
from divcon.nets.teacher import Teacher
from divcon.nets.trained import Trained
from studies.many import __main__ as command
from studies.many import divisions, page, plans, workers
from studies.many.lab import Kind, Lab
from studies.many.piles import LabelSet, Pile, joined, pack, shrunk, unpack
from studies.many.search import Chain
from studies.many.slots import Slot, Training
from studies.many.student import Student, Targets, Weights, affine, group_loss
from studies.many.views import ViewPool, as_input, center_views, epoch_views
from studies.many.ways import Trained as Kept
from studies.many.ways import Way, new_moclr, targets_of

OPTIONS: dict[str, Any] = {
    "recipe": "moclr", "encoder": "slim10_w8", "size": 32, "epochs": 2, "precision": "fp32", "channels_last": True,
    "device": "cpu",
}  # fmt: skip


def pool_of(packed: PackedImages, epochs: int) -> ViewPool:
    pool = ViewPool.empty(len(packed), epochs, 32, "cpu")
    pool.put(-1, center_views(packed, 32))
    for epoch in range(epochs):
        pool.put(epoch, epoch_views(packed, epoch, 32))
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


def test_unit_predictions_are_compared_with_their_length_taken_away(targets: Targets) -> None:
    index = torch.tensor([3, 8, 1, 5])
    loss, _, pools = loss_of(targets, Weights(unit=1), index)
    slow = 0.0
    for pool in pools:
        for row, i in enumerate(index.tolist()):
            for t in range(3):
                told = pool[row] @ targets.maps[t] + targets.shifts[t]
                apart = told / told.norm() - targets.features[i, t]
                slow += float(targets.shares[i, t] * apart.square().sum()) / len(index) / 2
    assert loss == pytest.approx(slow, rel=1e-4)


def test_unit_targets_have_length_one_and_heads_that_begin_near_them() -> None:
    pool = F.normalize(drawn(40, 8), dim=1) * 7
    targets = targets_of(Way(unit=True, parts="none"), kept(pool), [], np.zeros(40, np.int64), most=1)
    assert torch.allclose(targets.features[:, 0], pool / 7, atol=1e-6)
    assert torch.allclose(pool @ targets.maps[0] + targets.shifts[0], targets.features[:, 0], atol=1e-5)


def test_groups_inside_a_batch_are_those_of_a_slow_loop() -> None:
    one, other = (F.normalize(drawn(24, 6, 1)[:, :, 0] + shift, dim=1) for shift in (0.0, 0.3))
    slow = 0.0
    for z, told in ((one, other), (other, one)):
        centers = [told[k] for k in range(8)]
        for _ in range(4):
            own = [max(range(8), key=lambda k, x=x: float(x @ centers[k])) for x in told]  # type: ignore[misc]
            members = [[told[i] for i in range(24) if own[i] == k] for k in range(8)]
            centers = [F.normalize(sum(its), dim=0) if its else centers[k] for k, its in enumerate(members)]  # type: ignore[arg-type]
        own = [max(range(8), key=lambda k, x=x: float(x @ centers[k])) for x in told]  # type: ignore[misc]
        for i in range(24):
            logits = torch.stack([z[i] @ center for center in centers]) / 0.2
            slow -= float(logits.log_softmax(0)[own[i]]) / 24
    assert float(group_loss(one, other)) == pytest.approx(slow, rel=1e-5)
    assert np.isfinite(float(group_loss(one[:3], other[:3])))


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


def test_a_collection_for_smaller_views_has_the_pixels_that_a_run_would_decode(
    photos: Path, cache: Path, tmp_path: Path
) -> None:
    """Images of twice 16 pixels: from the packed file, and as `divcon run` opens them; few sizes pass through another one first."""
    images = run_plan.prepare_run(photos, tmp_path / "plan", OPTIONS | {"size": 16}).images
    large, small = (open_pixels(images, side, cache=cache, cache_gb=1, workers=1) for side in (64, 32))
    arrays = [
        [packed[int(row)] for row in rows]
        for packed, rows in (its.read(np.arange(len(images))) for its in (large, small))
    ]
    pile = shrunk(Pile("photos", PackedImages.from_arrays(arrays[0]), {}), 16)
    assert [pile.packed[i].shape for i in range(len(pile))] == [its.shape for its in arrays[1]]
    apart = [np.abs(pile.packed[i].astype(int) - its).mean() for i, its in enumerate(arrays[1])]
    assert max(apart) < 6 and shrunk(pile, 32) is pile


SEARCH = """
import multiprocessing, time
from concurrent.futures import ProcessPoolExecutor
from studies.many import workers

with ProcessPoolExecutor(1, multiprocessing.get_context("fork"), workers.begin) as processes:
    processes.submit(print, "begun", flush=True).result()
    time.sleep(600)
"""


def test_no_process_outlives_a_search_that_is_killed() -> None:
    """A process that goes on keeps the pipe open."""
    with subprocess.Popen([sys.executable, "-c", SEARCH], stdout=subprocess.PIPE, text=True) as search:
        assert search.stdout and search.stdout.readline() == "begun\n"
        search.kill()
        assert search.communicate(timeout=60) == ("", None)


def test_one_job_at_once_is_the_one_of_the_lowest_order() -> None:
    class Counted:
        left = 0

        def begin(self, training: str) -> None:
            begun.append(training)

    async def begin_all() -> None:
        lab = Lab({}, {}, None, Path(), at_once=1)  # type: ignore[arg-type]
        kinds = [Kind("moclr", (pile, 16), 8) for pile in ("one", "two")]
        slots = {kind: Counted() for kind in kinds}
        future = asyncio.get_running_loop().create_future
        for order, place in ((3, 0), (1, 1), (2, 0)):
            lab.waiting[kinds[place]].append((order, f"job {order}", future()))  # type: ignore[arg-type]
        for _ in range(3):
            for kind, slot in slots.items():
                lab._begin(kind, slot)  # type: ignore[arg-type]
            assert len(lab.busy) == 1
            lab.busy.clear()

    begun: list[str] = []
    asyncio.run(begin_all())
    assert begun == ["job 1", "job 2", "job 3"]


def blobs(*sizes: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Rows around as many directions as there are sizes."""
    return np.concatenate([np.eye(6)[i] + 0.15 * drawn(n, 6).numpy() for i, n in enumerate(sizes)]).astype(np.float32)


def test_random_parts_have_the_sizes_of_the_clusters() -> None:
    labels = np.array([0] * 70 + [1] * 20 + [2] * 10)
    parts = divisions.random_parts(labels, 3)
    assert np.bincount(parts).tolist() == [70, 20, 10] and (parts != labels).sum() > 20


def test_balanced_parts_have_nearly_equal_sizes_where_clusters_have_not() -> None:
    x = blobs(300, 60, 40)
    plain, balanced = (
        np.bincount(divisions.parts_of(x, how, 3, 1, 0), minlength=3) for how in ("clusters", "balanced")
    )
    assert sorted(plain.tolist()) == [40, 60, 300]
    assert balanced.min() > 0.8 * 400 / 3 and balanced.sum() == 400


def test_a_hierarchy_gives_a_dense_region_fewer_parts() -> None:
    """Of five directions, one has nearly all images: k-means of all images divides it, a hierarchy finds the five."""
    x = blobs(4000, 60, 60, 60, 60)
    truth = np.repeat(np.arange(5), (4000, 60, 60, 60, 60))
    parts = divisions.parts_of(x, "hierarchy", 5, 1, 0)
    assert np.bincount(divisions.parts_of(x, "clusters", 5, 1, 0)[truth == 0]).max() < 0.7 * 4000
    together = [np.bincount(parts[truth == i]).max() / (truth == i).sum() for i in range(5)]
    assert len(set(parts.tolist())) == 5 and min(together) > 0.9
    assert len({int(np.bincount(parts[truth == i]).argmax()) for i in range(5)}) == 5


def test_lessons_that_are_resampled_show_each_part_equally_often() -> None:
    labels = np.array([0] * 70 + [1] * 20 + [2] * 10)
    rows = divisions.resampled(labels, 0)
    assert np.bincount(labels[rows]).tolist() in ([34, 33, 33], [33, 34, 33], [33, 33, 34])
    assert (rows == divisions.resampled(labels, 0)).all() and (rows != divisions.resampled(labels, 1)).any()


def row(line: str, seed: int, whitened: float, linear: float) -> dict[str, Any]:
    validation = {"knn": whitened, "whitened": whitened, "linear": linear}
    labels = {"a": {"validation": validation}, "leaf": {"validation": {"knn": 0.0, "whitened": 0.0}}}
    where = {"pile": "openclipart", "width": 8, "passes": 30, "images": 100}
    return {"line": line, "seed": seed, "labels": labels, "device": "one", "torch": "2", **where}


def test_a_search_that_goes_on_leaves_out_what_has_a_row(tmp_path: Path) -> None:
    specs = plans.trial()
    kept = [{**row(spec.line, spec.seed, 0.5, 0.5), "pile": "made", "passes": 4} for spec in specs[:3]]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(its) + "\n" for its in kept))
    assert plans.to_do(specs, plans.read(tmp_path / "rows.jsonl")) == specs[3:]
    assert plans.to_do(specs, plans.read(tmp_path / "none.jsonl")) == specs


@pytest.mark.parametrize("torn", ['{"line": "moclr", "pi', "[]", "7", "", '{"line": "moclr"}'])
def test_a_line_that_is_no_row_is_named(tmp_path: Path, torn: str) -> None:
    (tmp_path / "a\nb.jsonl").write_text(json.dumps(row("moclr", 0, 0.5, 0.5)) + "\n" + torn + "\n")
    with pytest.raises(DataError, match=r"a\\nb\.jsonl: line 2 is no row .* remove this line"):
        plans.read(tmp_path / "a\nb.jsonl")


def test_two_rows_of_one_experiment_are_refused_as_they_would_count_as_two_seeds(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row("moclr", 0, 0.5, 0.5)) + "\n")
    with pytest.raises(DataError, match=r"one\.jsonl and one in .*two\.jsonl; remove one of them"):
        page.rows_of(tmp_path)


def test_a_collection_that_is_not_packed_or_damaged_is_told_with_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no emoji\.npz; .* python -m studies\.many pack emoji"):
        plans.composed("mixture", {})
    pack(PackedImages.from_arrays([np.zeros((4, 4, 3), np.uint8)]), np.array([0]), {}, tmp_path / "one.npz")
    whole = (tmp_path / "one.npz").read_bytes()
    for damaged in (b"", b"no archive", whole[: len(whole) // 2], whole[:60] + b"\xff" * 60 + whole[120:]):
        (tmp_path / "one.npz").write_bytes(damaged)
        with pytest.raises(DataError, match=r"one\.npz is no packed collection .* python -m studies\.many pack one"):
            unpack(tmp_path / "one.npz")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "folder"), "out= is missing"),
        (("run", "folder", "out=rows.jsonl", "plan=wayz"), "did you mean 'ways'"),
        (("run", "folder", "out=rows.jsonl", "plan=trial", "seed=7"), "seed=7: plan=trial has the seeds 0"),
        (("run", "folder", "out=rows.jsonl", "second=9"), "did you mean 'seconds'"),
        (("run", "folder", "out=rows.jsonl", "slots=none"), "slots"),
        (("run", "folder", "out=rows.jsonl", "device=gpu"), "device=gpu: input should be 'cuda' or 'cpu'"),
        (("run", "folder", "seconds"), "'seconds' is not an option"),
        (("run", "out=rows.jsonl"), "python -m studies.many run FOLDER"),
        (("pack", "emojy", "cache=a", "out=b"), "did you mean 'emoji'"),
        (("pack", "emoji", "cache=a", "out=b", "apart=1"), "leave apart= away"),
        (("draw", "page"), "python -m studies.many draw"),
        ((), "python -m studies.many draw"),
    ],
)
def test_a_mistake_in_the_command_line_is_told(
    words: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        command.main(*words)
    assert said in str(stopped.value) and not [*tmp_path.iterdir()]


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
    assert "## Open Clip Art, 32 pixels, width 8, 30 passes" in text
    assert (
        "| dnc | 68.0 ± 20.0 | 68.0 ± 20.0 | 63.0 ± 23.4 | +2.0 ± 1.0 (2) | +2.0 ± 1.0 (2) | -0.5 ± 0.5 (2) | 3 | 100 |"
        in text
    )
    assert "| clusters less random parts | +1.0 (1) | +1.0 (1) | +2.0 (1) |" in text


def test_clusters_of_a_layer_are_worth_the_accuracy_of_their_classes() -> None:
    """A layer that is the class, and one that is noise: all images right, and about as many as the largest class has."""
    classes = np.arange(300) % 3
    labels = {
        "kind": LabelSet(np.arange(300), classes),
        "leaf": LabelSet(np.arange(300), np.arange(300) % 60, linear=False),
    }
    workers.piles["told", 32] = Pile("told", PackedImages.from_arrays([]), labels)
    right = (F.one_hot(torch.from_numpy(classes), 8) + 0.01 * drawn(300, 8)).numpy()
    found = workers.divides(("told", 32), {"pool": drawn(300, 8).numpy(), "hidden": right}, 0)
    assert list(found) == ["kind"] and found["kind"]["hidden"] == 1 and found["kind"]["pool"] < 0.6


def test_the_page_tells_by_which_layer_clusters_are_better() -> None:
    rows = [
        row("moclr", seed, 0.5, 0.5) | {"divides": {"kind": {"pool": 0.5, "hidden": 0.51 + seed / 100}}}
        for seed in (0, 1)
    ]
    (line, _) = page.layers([*rows, row("dnc", 0, 0.5, 0.5)])
    assert "the pool 50.0 ± 0.0, the projector's hidden layer 51.5 ± 0.7; the difference is +1.5 ± 0.5 (2)." in line


def test_every_line_of_the_plans_is_a_way_or_a_control() -> None:
    for name, plan in plans.PLANS.items():
        specs = plan()
        lines = {spec.line for spec in specs if spec.way is not None}
        assert lines <= {*plans.DIVIDED, *plans.CONTROLS} and len(set(specs)) == len(specs), name
        assert all(sum(spec.way.shares) == pytest.approx(1) for spec in specs if spec.way)


def test_what_is_done_once_is_kept_by_its_network_and_not_by_an_id_that_comes_again() -> None:
    """A network that is gone leaves its id to the next one: 100 networks, one after another, are 100 divisions."""

    async def divisions() -> int:
        made = Pile("made", PackedImages.from_arrays([np.zeros((4, 4, 3), np.uint8)]), {})
        lab = Lab({("made", 32): made}, {}, None, Path())  # type: ignore[arg-type]
        chain = Chain(lab, plans.trial()[1], 0)
        for _ in range(100):
            await chain.divided(Way(parts="all"), kept(torch.zeros(1, 4)))
        return len(lab.known)

    assert asyncio.run(divisions()) == 100


def test_random_parts_have_the_sizes_of_clusters_that_are_fitted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = []

    async def work(*words: object) -> object:
        fitted.append(words)
        return np.array([0] * 70 + [1] * 20 + [2] * 10)

    async def divisions() -> list[list[int]]:
        made = Pile("made", PackedImages.from_arrays([np.zeros((4, 4, 3), np.uint8)]), {})
        lab = Lab({("made", 32): made}, {}, None, Path())  # type: ignore[arg-type]
        monkeypatch.setattr(lab, "work", work)
        chain, base = Chain(lab, plans.trial()[1], 0), kept(torch.zeros(1, 4))
        return [np.bincount(await chain.divided(Way(parts=parts), base)).tolist() for parts in ("random", "clusters")]

    assert asyncio.run(divisions()) == [[70, 20, 10], [70, 20, 10]] and len(fitted) == 1
