"""The 25 easiest mistakes in Divide and Contrast, a test for each, by number. (24 is about other methods' look-alikes,
which are not here: of the methods beside DnC only SimCLR is, and its formula is held in test_losses.)"""

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slow
import torch
import torch.nn.functional as F
from conftest import TINY
from test_methods import (
    AT,
    BATCH,
    PAIR,
    SIGHT,
    SIZE,
    N,
    built,
    is_statistic,
    moved,
    state,
    toy_batch,
    toy_pixels,
    toy_teachers,
    trainable,
)  # fmt: skip
from torch import Tensor, nn

import divcon
from divcon import dist, recipes
from divcon.api.evaluate import evaluate
from divcon.api.models import find_model
from divcon.clustering.clusters import Clusters
from divcon.clustering.kmeans import assign, kmeans
from divcon.data.images import Images, open_images
from divcon.data.pixels.pixel_cache import open_pixels
from divcon.data.pixels.pixels import Pixels
from divcon.data.views.draw import draw
from divcon.data.views.presets import PRESETS
from divcon.data.views.view import View
from divcon.evals.knn import knn
from divcon.evals.linear import linear
from divcon.files.integrity import read_json
from divcon.losses import info_nce, nt_xent, regression
from divcon.machine import Machine
from divcon.methods.contract import Step
from divcon.methods.distill import Distill
from divcon.methods.moclr import MoCLR
from divcon.methods.registry import options_of
from divcon.nets.batch_norm import BatchNorm
from divcon.nets.encoder import EncoderSpec, build
from divcon.nets.momentum import momentum_at
from divcon.nets.trained import InputSpec, Trained
from divcon.pipelines.dnc import DnC
from divcon.recipes import Options
from divcon.runs.metrics_file import read_lines
from divcon.runs.stage import StageContext
from divcon.stages.pretrain import Pretrain, pretrain
from divcon.train.encode import encode
from divcon.train.loop import Training, fit
from divcon.train.optimizers import LARS, make_optimizer
from divcon.train.schedules import learning_rate, warmup_steps

PAPERS = ("dnc_1000", "dnc_3000", "dnc_4500")
SHARES = {"dnc_1000": (200, 600, 200), "dnc_3000": (1000, 1500, 500), "dnc_4500": (1000, 3000, 500)}
EPOCHS = 6


def paper(name: str, n: int = 1_000_000, **options: Any) -> DnC:
    """The recipe as its header says to type it."""
    full = Options(recipe=name, encoder="resnet50", size=224, **{"batch_size": 4096, "views": "byol", **options})
    recipe = recipes.named(name).recipe(full, n)
    assert isinstance(recipe, DnC)
    return recipe


@dataclass
class Ran:
    """A small run of the whole, and what it was given."""

    folder: Path
    images: Images
    pixels: Pixels
    base: Trained
    clusters: Clusters

    def stage(self, name: str) -> dict[str, Any]:
        noted: dict[str, Any] = read_json(self.folder / name / "stage.json")["summary"]
        return noted

    @property
    def stages(self) -> list[str]:
        return ["base", *(f"experts/{k}" for k in range(self.clusters.k)), "student"]

    def seen(self, place: Any, positions: np.ndarray | None = None) -> Tensor:
        """The features that the base gives of center views."""
        return encode(self.base.net, self.base.input_spec, self.pixels, Machine(), layer=place, positions=positions)


@pytest.fixture(scope="module")
def ran(photos: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The paper's recipe in small."""
    folder = tmp_path_factory.mktemp("mistakes") / "run"
    options = {**TINY, "batch_size": 8, "clusters.k": 3, "clusters.smallest": 1, "recipe": "dnc_3000"}
    divcon.run(photos, out=folder, epochs=EPOCHS, **options)
    images = open_images(photos, cache=cache, workers=1)
    pixels = open_pixels(images, 2 * SIZE, cache=cache, cache_gb=8.0, workers=1)
    return Ran(folder, images, pixels, Trained.load(folder / "base"), Clusters.load(folder / "clusters"))


def distill(**options: Any) -> Distill:
    method = built("distill", **options)
    assert isinstance(method, Distill)
    return method


def moclr(**options: Any) -> MoCLR:
    method = built("moclr", **options)
    assert isinstance(method, MoCLR)
    return method


def of_kind(kind: int) -> np.ndarray:
    """Positions of toy images whose label, and cluster, it is."""
    return np.arange(kind, N, 3)[:BATCH]


def rows(x: Tensor) -> slow.Array:
    array: slow.Array = x.detach().double().numpy()
    return array


def test_01_the_hidden_layer_is_clustered(ran: Ran) -> None:
    hidden, pool = ran.seen("hidden"), ran.seen("pool")
    assert {ran.seen(place).shape[1] for place in ("pool", "hidden", "projection")} == {64, 32, 16}
    assert ran.clusters.centroids.shape == (3, 32)
    labels, _ = assign(hidden, torch.from_numpy(ran.clusters.centroids))
    assert np.array_equal(labels.numpy(), ran.clusters.labels)
    assert (hidden >= 0).all() and not torch.equal(hidden, pool[:, :32])
    assert all(paper(name).clusters.layer == "hidden" for name in PAPERS)


def test_02_clusters_are_by_cosine(ran: Ran) -> None:
    hidden = ran.seen("hidden").half().float()  # the features as the stage keeps them
    unit = F.normalize(hidden)
    np.testing.assert_allclose(np.linalg.norm(ran.clusters.centroids, axis=1), 1, atol=1e-5)
    cosines = (unit @ torch.from_numpy(ran.clusters.centroids).T).max(1).values
    np.testing.assert_allclose(ran.clusters.distances, 1 - cosines.numpy(), atol=1e-5)
    for k in range(3):
        mean = F.normalize(unit[torch.from_numpy(ran.clusters.labels) == k].mean(0), dim=0)
        np.testing.assert_allclose(ran.clusters.centroids[k], mean.numpy(), atol=1e-4)
    stretched = hidden * torch.linspace(0.1, 10, len(hidden))[:, None]
    assert torch.equal(kmeans(stretched, 3, seed=0).labels, kmeans(hidden, 3, seed=0).labels)


@pytest.mark.parametrize("name", PAPERS)
def test_03_the_papers_experts_and_student_start_from_scratch(name: str) -> None:
    recipe = paper(name)
    assert recipe.base.start == recipe.expert.start == recipe.student.start == "scratch"
    assert len({recipe.base.seed, recipe.expert.seed, recipe.student.seed}) == 3


def test_03_from_scratch_means_that_no_weight_of_the_base_is_seen(ran: Ran, tmp_path: Path, cache: Path) -> None:
    still = Pretrain(
        samples_seen=8, batch_size=8, optimizer="sgd", lr=0.0, encoder=EncoderSpec("slim10_w8"), input_spec=InputSpec(SIZE), seed=3,
        options={"hidden": 32, "dim": 16},
    )  # fmt: skip

    def first_layer(start: Any) -> Tensor:
        work = StageContext(tmp_path / start, "experts/0", Machine(), cache)
        work.folder.mkdir()
        net = pretrain(work, ran.images, replace(still, start=start), ran.base).artifact.net
        return net.encoder.get_parameter("conv1.weight").detach()

    base = ran.base.net.encoder.get_parameter("conv1.weight")
    assert torch.equal(first_layer("base"), base)
    assert torch.nn.functional.cosine_similarity(first_layer("scratch").flatten(), base.flatten(), dim=0) < 0.5


def test_04_the_experts_share_one_budget_by_the_sizes_of_their_clusters(ran: Ran) -> None:
    sizes, budget = ran.clusters.sizes, EPOCHS * len(ran.images) / 2
    assert sizes.sum() == 160 and len(set(sizes.tolist())) > 1
    for k, size in enumerate(sizes.tolist()):
        note = ran.stage(f"experts/{k}")
        assert abs(note["images_seen"] - budget * size / 160) <= note["batch_size"] / 2 + 1e-6
    expert = paper("dnc_3000").expert
    assert sum(expert.share(part).samples_seen for part in (0.5, 0.3, 0.2)) == pytest.approx(expert.samples_seen)
    assert replace(expert.share(0.3), samples_seen=expert.samples_seen) == expert


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("dnc_1000", (62_557, 187_671, 62_557)),
        ("dnc_3000", (312_785, 469_177, 156_392)),
        ("dnc_4500", (312_785, 938_355, 156_392)),
    ],
)
def test_05_an_epoch_of_the_paper_is_1281167_images_of_any_collection(name: str, steps: tuple[int, ...]) -> None:
    for n in (1_000, 300_000_000):
        recipe = paper(name, n)
        found = [part.samples_seen / 4096 for part in (recipe.base, recipe.expert, recipe.student)]
        assert found == pytest.approx(steps, abs=1)
    assert recipe.clusters.k == (10 if name == "dnc_4500" else 5)
    assert Options(imagenet_epochs=2).samples_seen(100) == 2 * 1_281_167 and Options(epochs=2).samples_seen(100) == 200
    typed = paper(name, 5_000, epochs=9)
    images = [typed.base.samples_seen, typed.expert.samples_seen, typed.student.samples_seen]
    assert images == pytest.approx([45_000 * share / sum(SHARES[name]) for share in SHARES[name]])


def test_06_each_training_has_schedules_over_its_own_length(ran: Ran) -> None:
    lengths = set()
    for name in ran.stages:
        journal, recipe = read_lines(ran.folder / name / "metrics.jsonl"), read_json(ran.folder / name / "stage.json")
        steps, asked = ran.stage(name)["steps"], recipe["key"]["args"]
        lengths.add(steps)
        rates = [line["lr"] for line in journal]
        (settings,) = (arg for arg in asked if isinstance(arg, dict) and "lr" in arg)
        warmup = warmup_steps(settings["warmup"], settings["samples_seen"], ran.stage(name)["batch_size"])
        peak = settings["lr"] * ran.stage(name)["batch_size"] / 256
        assert len(rates) == steps and 0 < warmup < steps / 5
        assert rates == pytest.approx([learning_rate(step, steps, peak=peak, warmup=warmup) for step in range(steps)])
        assert rates[0] < max(rates) and rates[-1] < 0.05 * max(rates)
    assert len(lengths) > 2


def test_06_the_momentum_of_each_training_ends_at_one_in_its_own_last_step(tmp_path: Path) -> None:
    for steps in (4, 9):
        seen: list[Step] = []

        class Watched(MoCLR):
            def after_step(self, update: tuple[Tensor, ...], at: Step, seen: list[Step] = seen) -> None:
                seen.append(at)
                super().after_step(update, at)

        work = StageContext(tmp_path / str(steps), "experts/0", Machine(), tmp_path)
        work.folder.mkdir()
        method = Watched(build(EncoderSpec("slim10_w8"), SIZE), N, hidden=32, dim=16)
        fit(work, method, toy_pixels(), Training(steps * BATCH, BATCH), PAIR, SIGHT)
        assert [(at.step, at.steps) for at in seen] == [(step, steps) for step in range(steps)]
    assert momentum_at(0.996, 0, 9) == pytest.approx(0.996) and momentum_at(0.996, 9, 9) == 1.0


def test_07_negatives_are_the_momentum_projections_of_the_other_view_alone() -> None:
    method, batch = moclr(temperature=0.2), toy_batch("moclr")
    with torch.no_grad():
        for p in method.target.parameters():
            p.mul_(1.0 + 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0)))
    fresh = copy.deepcopy(method)
    (a, b), (a_slow, b_slow) = ([net(view) for view in batch.views] for net in (fresh.net, fresh.target))
    expected = slow.info_nce(rows(a), rows(b_slow), 0.2) + slow.info_nce(rows(b), rows(a_slow), 0.2)
    loss = method(batch, AT).loss
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert nt_xent(a, b, 0.2).item() * 2 != pytest.approx(expected, rel=0.02)
    loss.backward()
    assert all(p.grad is None for p in method.target.parameters())


def test_07_another_images_own_projection_is_no_negative() -> None:
    """Move one query: the loss moves by what that query's own row is worth, and no other row's."""
    query, key = (torch.randn(6, 4, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    other = query.clone()
    other[2] = -query[2]
    rest = [i for i in range(6) if i != 2]

    def row_losses(q: Tensor) -> Tensor:
        return F.cross_entropy(F.normalize(q) @ F.normalize(key).T / 0.1, torch.arange(6), reduction="none")

    assert torch.equal(row_losses(query)[rest], row_losses(other)[rest])
    difference = info_nce(other, key, 0.1) - info_nce(query, key, 0.1)
    torch.testing.assert_close(difference, (row_losses(other)[2] - row_losses(query)[2]) / 6)


def test_07_the_two_directions_are_added_up() -> None:
    method, batch = moclr(), toy_batch("moclr")
    a, b = (method.net(view) for view in batch.views)
    a_slow, b_slow = (method.target(view) for view in batch.views)
    parts = info_nce(a, b_slow, 0.1), info_nce(b, a_slow, 0.1)
    torch.testing.assert_close(moclr()(batch, AT).loss, parts[0] + parts[1], atol=1e-4, rtol=1e-5)


def test_08_negatives_come_from_the_global_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two halves, each given the keys of both, as two ranks are (test_distributed has real ones)."""
    query, key = (torch.randn(8, 4, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    losses = []
    for rank in range(2):
        monkeypatch.setattr(dist, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(dist, "all_gather", lambda keys: F.normalize(key))
        losses.append(info_nce(query[4 * rank :][:4], key[4 * rank :][:4], 0.1).item())
    assert np.mean(losses) == pytest.approx(slow.info_nce(rows(query), rows(key), 0.1), rel=1e-5)
    local = [slow.info_nce(rows(query[half]), rows(key[half]), 0.1) for half in (slice(0, 4), slice(4, 8))]
    assert np.mean(local) < np.mean(losses) - 0.1


def test_09_there_is_no_predictor_and_the_projector_ends_with_batch_norm() -> None:
    method = moclr()
    assert all(name.startswith(("net.encoder.", "net.projector.")) for name in trainable(method))
    assert {name.partition(".")[0] for name, _ in method.named_children()} == {"net", "target"}
    assert method.net.projector is not None and isinstance(list(method.net.projector.out)[-1], BatchNorm)
    z = method.net(toy_batch("moclr").views[0])
    torch.testing.assert_close(z.mean(0), torch.zeros(16), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.square().mean(0), torch.ones(16), atol=1e-2, rtol=0)
    widths = [part.out_features for part in method.net.projector.modules() if isinstance(part, nn.Linear)]
    assert widths == [32, 16] and (options_of(MoCLR)["hidden"], options_of(MoCLR)["dim"]) == (4096, 256)


def test_10_regression_heads_sit_on_the_students_projection() -> None:
    method, given = distill(hidden=24), []
    for head in method.heads:
        assert isinstance(head, nn.Sequential)
        linear_in, norm, relu, linear_out = head
        assert isinstance(linear_in, nn.Linear) and isinstance(linear_out, nn.Linear)
        assert (linear_in.in_features, linear_in.out_features, linear_out.out_features) == (16, 24, 16)
        assert isinstance(norm, BatchNorm) and isinstance(relu, nn.ReLU)
        head.register_forward_pre_hook(lambda module, x: given.append(x[0]))
    batch = toy_batch("distill")
    projections = [copy.deepcopy(method).net(view) for view in batch.views]
    method(batch, AT)
    assert len(method.heads) == 4 and len(given) == 8
    for i, z in enumerate(given):
        torch.testing.assert_close(z, projections[i // 4], atol=1e-5, rtol=1e-5)
    assert options_of(Distill)["hidden"] == 4096
    assert all((paper(name).student.hidden, paper(name).student.layer) == (4096, "projection") for name in PAPERS)


def test_11_the_teachers_projections_are_normalized_and_the_students_are_not() -> None:
    guess, truth = (torch.randn(6, 5, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    torch.testing.assert_close(regression(guess, 9 * truth), regression(guess, truth))
    assert regression(9 * guess, truth) > 20 * regression(guess, truth)
    torch.testing.assert_close(regression(F.normalize(truth), truth), torch.tensor(0.0))


def test_12_the_squared_distance_is_summed_over_the_dimensions() -> None:
    truth = torch.randn(10, 256, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(regression(torch.zeros(10, 256), truth), torch.tensor(1.0))
    doubled = torch.cat([torch.ones(10, 256), torch.zeros(10, 256)], 1)
    torch.testing.assert_close(
        regression(doubled, torch.cat([truth, torch.zeros(10, 256)], 1)), regression(torch.ones(10, 256), truth)
    )


def test_13_an_image_asks_the_expert_of_its_own_cluster_and_no_other() -> None:
    method, batch = distill(), toy_batch("distill", of_kind(1))
    before = method(batch, AT).loss
    before.backward()
    sizes = [sum(p.grad.abs().sum().item() for p in head.parameters() if p.grad is not None) for head in method.heads]
    assert sizes[0] > 0 and sizes[2] > 0 and sizes[1] == sizes[3] == 0
    for number, changes in ((1, False), (2, True), (3, False)):
        again = distill()
        with torch.no_grad():
            next(again.teachers[number].net.encoder.parameters()).mul_(-1)
        assert (abs(again(batch, AT).loss.item() - before.item()) > 0.01) == changes


def test_13_a_mixed_batch_is_the_loop_over_its_images() -> None:
    method, batch = distill(base_share=0.3), toy_batch("distill")
    fresh = copy.deepcopy(method)
    fresh.teachers = method.teachers
    total = 0.0
    for view in batch.views:
        z = fresh.net(view)
        guesses = [rows(head(z)) for head in fresh.heads]
        targets = [rows(teacher(view)) for teacher in method.teachers]
        for i, position in enumerate(batch.index.tolist()):
            own = 1 + position % 3
            base = slow.regression(guesses[0][i : i + 1], targets[0][i : i + 1])
            total += 0.3 * base + 0.7 * slow.regression(guesses[own][i : i + 1], targets[own][i : i + 1])
    assert method(batch, AT).loss.item() == pytest.approx(total / (2 * BATCH), rel=1e-4)


def test_14_the_base_is_half_of_what_the_student_predicts() -> None:
    outcome = distill()(toy_batch("distill"), AT)
    base, expert = outcome.logs["base"].item(), outcome.logs["expert"].item()
    assert base > 0.1 and expert > 0.1 and outcome.loss.item() == pytest.approx((base + expert) / 2, rel=1e-5)
    changed = distill()
    with torch.no_grad():
        next(changed.teachers[0].net.encoder.parameters()).mul_(-1)
    assert changed(toy_batch("distill"), AT).logs["base"].item() != pytest.approx(base, rel=1e-2)
    assert all(paper(name).student.base_share == 0.5 for name in PAPERS)


def test_15_student_and_teachers_look_at_the_same_view() -> None:
    method, batch, student, teachers = distill(), toy_batch("distill"), [], []
    method.net.register_forward_pre_hook(lambda module, x: student.append(x[0]))
    for teacher in method.teachers:
        teacher.register_forward_pre_hook(lambda module, x: teachers.append(x[0]))
    method(batch, AT)
    assert [view.data_ptr() for view in student] == [view.data_ptr() for view in batch.views]
    pictures = {row.numpy().tobytes() for view in batch.views for row in view}
    assert len(pictures) == 2 * BATCH
    to_base, *to_experts = teachers
    both = [row.numpy().tobytes() for view in batch.views for row in view]
    assert [row.numpy().tobytes() for row in to_base] == both  # all to the base, in the student's order
    assert sorted(row.numpy().tobytes() for rows in to_experts for row in rows) == sorted(both)  # and to one expert


def test_16_teachers_are_frozen_and_use_running_statistics(tmp_path: Path) -> None:
    method, (view, _) = distill(), toy_batch("distill").views
    before = [state(teacher) for teacher in method.teachers]
    for teacher in method.teachers:
        alone = torch.cat([teacher(picture[None]) for picture in view])
        torch.testing.assert_close(teacher(view), alone, atol=1e-4, rtol=1e-4)
    method.train()(toy_batch("distill"), AT).loss.backward()
    for was, teacher in zip(before, method.teachers):
        assert moved(was, teacher) == set()
        assert not any(p.requires_grad or p.grad is not None for p in teacher.parameters())
        assert not any(part.training for part in teacher.modules())


def test_17_each_expert_has_its_own_batch_norm(ran: Ran) -> None:
    nets = [Trained.load(ran.folder / name).net for name in ran.stages]
    means = [torch.cat([b.flatten() for name, b in net.named_buffers() if is_statistic(name)]) for net in nets]
    for i, one in enumerate(means):
        assert all((one - other).norm() > 1e-2 for other in means[:i])
    tensors = [{t.data_ptr() for t in [*teacher.parameters(), *teacher.buffers()]} for teacher in toy_teachers()]
    assert len(set.union(*tensors)) == sum(len(part) for part in tensors)


def test_18_the_product_is_the_students_encoder_at_the_pool(ran: Ran, photos: Path, cache: Path) -> None:
    student = Trained.load(ran.folder / "student")
    x = torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    features = divcon.load(ran.folder, whiten=False)(x)
    assert features.shape == (3, 64) and torch.equal(features, student.net(x, "pool"))
    assert find_model(ran.folder).fingerprint == student.fingerprint != ran.base.fingerprint
    assert not any("head" in name or "teacher" in name for name in student.net.state_dict())
    pool = evaluate(ran.folder, photos, tasks="knn", cache=cache, workers=1)
    assert pool.knn == evaluate(ran.folder / "student", photos, tasks="knn", layer="pool", workers=1).knn


def test_19_lars_leaves_biases_and_norms_alone_and_applies_the_rate_after_the_momentum() -> None:
    weight, bias = nn.Parameter(torch.full((2, 2), 3.0)), nn.Parameter(torch.full((2,), 3.0))
    optimizer = LARS([{"params": [weight], "weight_decay": 0.5}, {"params": [bias], "weight_decay": 0.5}], lr=0.0)
    expected = [(rows(p).copy(), np.zeros(p.shape)) for p in (weight, bias)]
    for rate, slope in ((1.0, 2.0), (0.0, -1.0), (10.0, 0.5)):
        weight.grad, bias.grad = torch.full((2, 2), slope), torch.full((2,), slope)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        slopes = [np.full((2, 2), slope), np.full((2,), slope)]
        expected = [slow.lars(p, buffer, g, rate, 0.5) for (p, buffer), g in zip(expected, slopes)]
        for p, (value, _) in zip((weight, bias), expected):
            np.testing.assert_allclose(rows(p), value, rtol=1e-5)
    groups = make_optimizer("lars", moclr(), 1.5e-6).param_groups
    assert [(g["weight_decay"], g["trust"], g["momentum"]) for g in groups] == [(1.5e-6, 1e-3, 0.9), (0.0, 1e-3, 0.9)]
    assert {p.ndim > 1 for p in groups[0]["params"]} == {True} and {p.ndim for p in groups[1]["params"]} == {1}


@pytest.mark.parametrize(("name", "rate"), [("dnc_1000", 0.5), ("dnc_3000", 0.3), ("dnc_4500", 0.3)])
def test_19_the_papers_rates_decay_and_warm_up(name: str, rate: float) -> None:
    recipe = paper(name)
    for part in (recipe.base, recipe.expert, recipe.student):
        assert (part.optimizer, part.lr, part.weight_decay, part.batch_size) == ("lars", rate, 1.5e-6, 4096)
        assert warmup_steps(part.warmup, part.samples_seen, 4096) == round(10 * 1_281_167 / 4096)


def test_20_momentum_starts_at_996_and_ends_at_one_and_follows_after_the_step(tmp_path: Path) -> None:
    assert [paper(name).base.options["momentum"] for name in PAPERS] == [0.996] * 3
    assert [momentum_at(0.996, step, 100) for step in (0, 50, 100)] == pytest.approx([0.996, 0.998, 1.0])
    method = moclr(momentum=0.5)
    first = state(method)
    work = StageContext(tmp_path, "base", Machine(), tmp_path)
    fit(work, method, toy_pixels(), Training(BATCH, BATCH, optimizer="sgd", lr=1.0, warmup=0), PAIR, SIGHT)
    for name in ("encoder.conv1.weight", "projector.into.0.weight", "projector.out.0.weight"):
        start, now = first[f"net.{name}"], method.state_dict()[f"net.{name}"]
        assert not torch.equal(start, now)
        torch.testing.assert_close(method.state_dict()[f"target.net.{name}"], 0.5 * start + 0.5 * now)


def test_20_the_targets_statistics_come_from_its_own_forward_in_train_mode() -> None:
    method, batch = moclr(momentum=0.0), toy_batch("moclr")
    assert all(part.training for part in method.target.modules())
    with torch.no_grad():
        for p in method.target.parameters():
            p.mul_(1.3)
    own = copy.deepcopy(method.target)
    method(batch, AT)
    method.after_step((), Step(0, 10, 0))
    for view in (batch.views[1], batch.views[0]):
        own(view)
    kept = {name: b for name, b in method.target.named_buffers() if is_statistic(name)}
    assert kept and all(torch.equal(b, own.get_buffer(name)) for name, b in kept.items())
    assert any(not torch.equal(b, method.get_buffer(name)) for name, b in kept.items())
    assert all(torch.equal(a, b) for a, b in zip(method.target.parameters(), method.net.parameters()))


def test_21_the_two_views_are_asymmetric_as_in_table_12() -> None:
    n = 20_000
    sides = np.full(n, 500)
    views = {"T": paper("dnc_3000").base.pair()[0], "T'": paper("dnc_3000").base.pair()[1]}
    wanted = {"T": (1.0, 0.0), "T'": (0.1, 0.2)}
    for i, (name, view) in enumerate(views.items()):
        assert view == PRESETS["byol"](224)[i] and view.size == 224
        drawn = draw(view, (0, "view", i), np.arange(n), sides, sides)
        often = {"blur": (drawn.sigma > 0).mean(), "solarize": drawn.solarize.mean(), "gray": drawn.gray.mean()}
        often |= {"flip": drawn.flip.mean(), "jitter": drawn.jitter.mean()}
        blur, solarize = wanted[name]
        expected = {"blur": blur, "solarize": solarize, "gray": 0.2, "flip": 0.5, "jitter": 0.8}
        assert often == pytest.approx(expected, abs=0.012)
        assert (view.brightness, view.contrast, view.saturation, view.hue) == (0.4, 0.4, 0.2, 0.1)
        areas = drawn.box[:, 2] * drawn.box[:, 3] / 500**2
        assert 0.079 < areas.min() < 0.09 and 0.95 < areas.max() <= 1
    assert [part.views for part in (paper("dnc_3000").expert, paper("dnc_3000").student)] == ["byol"] * 2


def test_22_dnc_and_moclr_see_as_many_images_to_a_batch_a_stage(ran: Ran) -> None:
    seen = {name: ran.stage(name)["images_seen"] for name in ran.stages}
    batches = sum(ran.stage(name)["batch_size"] for name in ran.stages)
    assert abs(sum(seen.values()) - EPOCHS * 160) <= batches / 2
    assert seen["base"] == pytest.approx(EPOCHS * 160 / 3, abs=8) and min(seen.values()) > 8
    options = Options(encoder="slim10", size=32, batch_size=64, views="mild", epochs=30)
    dnc, alone = (recipes.named(name).recipe(options, 5_000) for name in ("dnc", "moclr"))
    assert isinstance(dnc, DnC) and not isinstance(alone, DnC)
    parts = dnc.base.samples_seen + dnc.expert.samples_seen + dnc.student.samples_seen
    assert parts == pytest.approx(alone.base.samples_seen) and alone.base.samples_seen == 150_000
    assert replace(dnc.base, samples_seen=alone.base.samples_seen) == alone.base


def test_23_features_for_clusters_are_of_center_crops_in_eval_mode(ran: Ran) -> None:
    net, positions = ran.base.net, np.arange(40)
    before = state(net)
    whole = ran.seen("hidden", positions)
    alone = torch.cat([ran.seen("hidden", np.array([i])) for i in positions])
    torch.testing.assert_close(whole, alone, atol=1e-4, rtol=1e-4)
    net.train()
    torch.testing.assert_close(ran.seen("hidden", positions), whole)
    assert net.training and moved(before, net) == set()
    net.eval()
    chance = encode(
        net,
        ran.base.input_spec,
        ran.pixels,
        Machine(),
        layer="hidden",
        positions=positions,
        view=View(SIZE),
        purpose=(0,),
    )
    assert not torch.allclose(chance, whole)


def test_23_labels_belong_to_their_images_by_name(ran: Ran) -> None:
    assert ran.clusters.names(np.arange(160)) == ran.images.names(np.arange(160))
    assert all((ran.clusters.labels[members] == k).all() for k, members in enumerate(ran.clusters.members()))
    assert sorted(np.concatenate(ran.clusters.members()).tolist()) == list(range(160))
    centroids = torch.from_numpy(ran.clusters.centroids)
    for position in (0, 17, 159):
        label, _ = assign(ran.seen("hidden", np.array([position])), centroids)
        assert label.item() == ran.clusters.labels[position]
    members = ran.clusters.members()[1]
    subset = ran.images.subset(members)
    assert subset.names(np.arange(3)) == ran.clusters.names(members[:3])


def test_23_centroids_are_fitted_on_a_sample_and_all_images_are_assigned(ran: Ran, tmp_path: Path, cache: Path) -> None:
    from divcon.stages.cluster import Divide, divide

    work = StageContext(tmp_path, "clusters", Machine(), cache)
    found = divide(work, ran.base, ran.images, Divide(k=3, sample=50, smallest=1)).artifact
    assert found.sample is not None and len(found.sample.positions) == 50 == len(set(found.sample.positions.tolist()))
    assert len(found.labels) == 160 == found.sizes.sum()
    fitted = kmeans(ran.seen("hidden", found.sample.positions), 3, seed=0, rounds=30, restarts=3)
    labels, _ = assign(ran.seen("hidden"), fitted.centroids)
    assert sorted(torch.bincount(labels).tolist()) == sorted(found.sizes.tolist())
    assert all(paper(name).clusters.sample == 1_500_000 for name in PAPERS)


def test_25_no_test_label_chooses_the_penalty_or_is_seen_before_the_end() -> None:
    generator = torch.Generator().manual_seed(0)
    x, test_x = torch.randn(120, 8, generator=generator), torch.randn(40, 8, generator=generator)
    y = (x[:, 0] + x[:, 1] > 0).long()
    test_y = (test_x[:, 0] + test_x[:, 1] > 0).long()
    honest, wrong = linear(x, y, test_x, test_y), linear(x, y, test_x, 1 - test_y)
    assert (honest.penalty, honest.validation) == (wrong.penalty, wrong.validation)
    assert honest.top1 == pytest.approx(1 - wrong.top1) and honest.top1 > 0.8


def test_25_neighbors_vote_with_k_20_and_200_at_temperature_007_on_unit_vectors() -> None:
    generator = torch.Generator().manual_seed(0)
    x, test_x = torch.randn(300, 6, generator=generator), torch.randn(30, 6, generator=generator)
    y, test_y = torch.arange(300) % 3, torch.arange(30) % 3
    found = knn(x * torch.linspace(0.1, 9, 300)[:, None], y, test_x, test_y)
    for k in (20, 200):
        winners = [slow.knn_winner(rows(q), rows(x), y.tolist(), k, 0.07) for q in test_x]
        assert found[k] == pytest.approx(np.mean([w == t for w, t in zip(winners, test_y.tolist())]))
    assert set(found) == {20, 200}


def test_25_no_label_comes_near_the_training(ran: Ran, photos: Path, cache: Path) -> None:
    before = [read_json(ran.folder / name / "stage.json")["key"] for name in ran.stages]
    assert not any("label" in str(key) for key in before)
    scores = evaluate(ran.folder, photos, cache=cache, workers=1)
    assert (
        set(scores.knn.as_json()) - {"many", "medium", "few", "raw"} == {"k20", "k200", "top1", "balanced", "per_class"}
        and scores.knn.top1 == scores.knn.k20
    )
    assert scores.train + scores.test == scores.images and 0 <= scores.linear.top1 <= 1
