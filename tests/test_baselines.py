"""The pipelines that DnC is measured against: each stops and goes on, is planned as it is done, and is judged honestly."""

import copy
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY
from sklearn.decomposition import MiniBatchNMF

import divcon
from divcon.api import plan, run_plan
from divcon.data.labeled.labeled import open_labeled
from divcon.errors import InputError, StoppedError, UsageError
from divcon.evals.split import train_test_split
from divcon.files.caches import cache_folder
from divcon.nets.encoder import EncoderSpec, build
from divcon.nets.factors import Factors
from divcon.nets.recompute import recomputing
from divcon.nets.trained import Trained
from divcon.pipelines.supervised import Truth, training_images
from divcon.train.factorization import STATE, make_factorizer

SMALL = {key: value for key, value in TINY.items() if "." not in key}
PIXELS = {"size": 16, "batch_size": 16, "precision": "fp32", "base.encoder.options.components": 6}
OPTIONS: dict[str, dict[str, Any]] = {"clusterfit": SMALL, "supervised": SMALL, "nmf": PIXELS, "seer": SMALL}
STAGES = {"clusterfit": ["base", "clusters", "refit"], "supervised": ["base"], "nmf": ["base"], "seer": ["base"]}
CODED = Path("base/encoder.safetensors")


def asked(recipe: str, photos: Path) -> dict[str, Any]:
    labels = {"labels": str(photos)} if recipe == "supervised" else {}
    return {"recipe": recipe, "epochs": 2, **OPTIONS[recipe], **labels}


def ran(recipe: str, photos: Path, out: Path, **options: Any) -> Path:
    done = divcon.run(photos, out=out, **asked(recipe, photos), **options)
    assert done.done
    return done.folder


@pytest.mark.parametrize("recipe", STAGES)
def test_a_pipeline_spends_the_budget_as_planned_is_used_like_any_other_and_can_be_asked_for_again(
    photos: Path, tmp_path: Path, recipe: str
) -> None:
    planned = plan.cost_of(run_plan.prepare_run(photos, tmp_path / "run", asked(recipe, photos)))
    run = ran(recipe, photos, tmp_path / "run")
    stages = divcon.status(run).stages
    assert list(stages) == STAGES[recipe] and all(stage.state == "done" for stage in stages.values())
    trainings = [row for row in planned.stages if row.steps is not None]
    notes = {row.stage: json.loads((run / row.stage / "stage.json").read_text())["summary"] for row in trainings}
    for row in trainings:
        assert (row.steps, row.batch_size) == tuple(notes[row.stage][name] for name in ("steps", "batch_size"))
    assert sum(note["images_seen"] for note in notes.values()) == pytest.approx(2 * 160, abs=16)
    assert 0 <= divcon.evaluate(run, photos, tasks="knn").knn.top1 <= 1
    assert divcon.embed(f"random:{run}", photos, out=tmp_path / "some.parquet").files == 160
    again = divcon.run(photos, out=tmp_path / "again", recipe=str(run), only="base")
    assert again.did == ["base"] and (again.folder / CODED).read_bytes() == (run / CODED).read_bytes()
    assert divcon.redo(run, STAGES[recipe][-1]).removed == STAGES[recipe][-1:]


def stop_when_saved(recipe: str, photos: Path, out: Path, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run until the stage has a checkpoint."""

    def asked_to(saved: str = "") -> bool:
        if any((out / stage / "checkpoints").glob("step-*")):
            raise StoppedError("stopped")
        return False

    with monkeypatch.context() as here, pytest.raises(StoppedError):
        here.setattr("divcon.signals.stop_requested", asked_to)
        ran(recipe, photos, out, save_every=0)


@pytest.mark.parametrize(("recipe", "stage"), [("clusterfit", "refit"), ("supervised", "base"), ("nmf", "base")])
def test_a_stage_that_is_stopped_in_the_middle_ends_in_the_bytes_of_one_that_was_not(
    photos: Path, tmp_path: Path, recipe: str, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ran(recipe, photos, tmp_path / "whole")
    stop_when_saved(recipe, photos, tmp_path / "run", stage, monkeypatch)
    assert divcon.status(tmp_path / "run").stages[stage].state == "interrupted"
    run = ran(recipe, photos, tmp_path / "run", save_every=0)
    its = Path(stage) / "encoder.safetensors"
    assert (run / its).read_bytes() == (whole / its).read_bytes()


def test_factors_whose_checkpoint_is_damaged_begin_anew_and_end_in_the_same_bytes(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = ran("nmf", photos, tmp_path / "whole")
    stop_when_saved("nmf", photos, tmp_path / "run", "base", monkeypatch)
    (saved,) = (tmp_path / "run" / "base" / "checkpoints").iterdir()
    data = bytearray(saved.read_bytes())
    data[-100] ^= 1
    saved.write_bytes(data)
    (said,) = divcon.status(tmp_path / "run", verify=True).damaged
    assert str(saved) in said and "expected sha256" in said
    run = ran("nmf", photos, tmp_path / "run")
    assert "step-newest is damaged" in caplog.text and "begins again" in caplog.text
    assert (run / CODED).read_bytes() == (whole / CODED).read_bytes()


def test_what_is_learned_with_labels_is_nothing_that_an_evaluation_tests_on(photos: Path, tmp_path: Path) -> None:
    labeled = open_labeled(photos, cache=cache_folder())
    for seed in (0, 1):
        known = training_images(Truth(labels=str(photos), split_seed=seed), cache_folder(), 1)
        train, test, _ = train_test_split(labeled, seed)
        named = set(known.images.names(np.arange(len(known.images))))
        assert not named & set(labeled.images.names(test)) and named == set(labeled.images.names(train))
        assert known.labels.tolist() == labeled.labels[train].tolist()
    run = ran("supervised", photos, tmp_path / "run", **{"truth.split_seed": 1})
    assert Trained.load(run / "base").net is not None
    with pytest.raises(UsageError, match="split_seed"):
        divcon.run(photos, out=run, **asked("supervised", photos))


def test_clusters_too_many_for_the_images_are_not_planned(photos: Path, tmp_path: Path) -> None:
    some = {
        **{name: value for name, value in TINY.items() if name != "clusters.k"},
        "clusters.smallest": 60,
        "epochs": 2,
    }
    planned = plan.cost_of(run_plan.prepare_run(photos, tmp_path / "run", some))
    trainings = [row.stage for row in planned.stages if row.steps is not None]
    assert trainings == ["base", "experts/0", "experts/1", "student"]
    assert any("not known yet; 2 of 5 can have 60 images" in why for why in planned.why)


# NMF


def fitted(n: int = 64, size: int = 8, components: int = 5) -> tuple[Any, np.ndarray]:
    rng = np.random.default_rng(0)
    pixels = (rng.random((n, components)) @ rng.random((components, 3 * size**2)) / components).astype(np.float32)
    pixels += rng.random(pixels.shape, np.float32) / 10
    return MiniBatchNMF(components, init="random", random_state=0, tol=0, transform_max_iter=50).fit(pixels), pixels


def test_amounts_are_scikit_learns_after_as_many_updates() -> None:
    model, pixels = fitted()
    factors = Factors(8, components=5, updates=50)
    factors.components.copy_(torch.from_numpy(model.components_))
    seen = factors(torch.from_numpy(pixels).view(-1, 3, 8, 8))
    assert np.abs(seen.numpy() - model.transform(pixels)).max() < 1e-5 * model.transform(pixels).max()


def test_amounts_of_one_image_do_not_depend_on_the_others() -> None:
    _, pixels = fitted()
    factors, images = Factors(8, components=5), torch.from_numpy(pixels).view(-1, 3, 8, 8)
    assert torch.allclose(factors(images)[3:4], factors(images[3:4]), rtol=1e-4, atol=1e-6)
    assert torch.equal(factors(torch.zeros(1, 3, 8, 8)), torch.zeros(1, 5))


def test_batches_are_forgotten_at_the_rate_of_scikit_learns_own_passes() -> None:
    _, pixels = fitted()
    theirs = MiniBatchNMF(5, batch_size=16, init="random", random_state=0, max_iter=2, tol=0).fit(pixels)
    model = make_factorizer(5, 16 / 64, 0).partial_fit(pixels[:16])
    assert model._rho == pytest.approx(theirs._rho) and set(STATE.values()) <= set(vars(model))


def test_without_scikit_learn_it_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.decomposition", None)
    with pytest.raises(InputError, match=r"pip install 'divcon\[baselines\]'"):
        make_factorizer(4, 0.1, 0)


# recomputing


def trained(recompute: bool) -> tuple[torch.nn.Module, float, int]:
    """Two steps of a RegNetY; how many numbers were kept for the gradient."""
    torch.manual_seed(0)
    encoder = build(EncoderSpec("regnety_002"), 32).train()
    if recompute:
        recomputing(encoder, "regnety_002")
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.01, momentum=0.9)
    kept = 0

    def count(x: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += x.numel()
        return x

    for step in range(2):
        images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(step))
        with torch.autograd.graph.saved_tensors_hooks(count, lambda x: x):
            loss = encoder(images).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return encoder, float(loss.detach()), kept


def test_what_is_done_again_for_the_gradient_changes_no_bit_and_keeps_less() -> None:
    (plain, loss, much), (again, same, little) = trained(False), trained(True)
    assert loss == same and little < much
    for (name, ours), theirs in zip(plain.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_an_encoder_that_can_not_be_done_again_is_refused() -> None:
    with pytest.raises(UsageError, match="slim10_w8 can't"):
        recomputing(build(EncoderSpec("slim10_w8"), 16), "slim10_w8")


def test_a_copy_of_an_encoder_that_is_done_again_is_one_too_and_leaves_the_first_as_it_was() -> None:
    encoder = recomputing(build(EncoderSpec("regnety_002"), 32).train(), "regnety_002")
    copied = copy.deepcopy(encoder)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    copied(torch.randn(4, 3, 32, 32)).square().mean().backward()
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())
    counts = {int(tensor) for name, tensor in copied.state_dict().items() if name.endswith("num_batches_tracked")}
    assert counts == {1}
