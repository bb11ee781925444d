"""Divide and Contrast with methods other than MoCLR (https://arxiv.org/abs/2105.08054, tables 15 and 16), and recipes of
one method alone."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from test_recipes import built

import divcon
from divcon.config import to_json_value, with_options
from divcon.errors import UsageError
from divcon.methods.registry import method_names
from divcon.nets.trained import Trained
from divcon.pipelines.dnc import DnC
from divcon.recipes.dnc import BASE_SHARE, OWN

STAGES = ["base", "clusters", "experts/0", "experts/1", "checks", "student"]
SINGLE = {
    "simclr": "simclr", "simclr_v2": "simclr", "moco": "moco", "moco_v3": "moco_v3", "byol": "byol", "moclr": "moclr",
    "npid": "npid", "local_aggregation": "local_aggregation",
}  # fmt: skip

PAIRED = {"byol", "deepcluster_v2", "moclr", "moco", "moco_v3", "simclr", "swav"}  # methods of two views or more


def ran(photos: Path, out: Path, tiny: dict[str, object], **options: Any) -> Path:
    done = divcon.run(photos, out=out, **{**tiny, **options})
    assert done.done and done.did == STAGES
    return out


@pytest.mark.parametrize("method", ["byol", "deepcluster_v2", "simclr", "moco", "moco_v3", "npid", "swav"])
def test_experts_begin_from_a_base_of_any_method_and_its_student_distils_pools(
    method: str, photos: Path, tmp_path: Path, tiny: dict[str, object]
) -> None:
    """An expert that is not moved is the base."""
    run = ran(photos, tmp_path / "run", tiny, recipe="dnc", method=method, epochs=1, **{"expert.lr": 1e-12})
    base, expert, student = (Trained.load(run / name).net for name in ("base", "experts/1", "student"))
    for p, q in zip(base.parameters(), expert.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-6, rtol=1e-6)
    assert base.projector is not None and (student.projector is None) == (method == "npid")  # of one view: no own loss


@pytest.mark.parametrize("method", ["byol", "deepcluster_v2", "moco", "moco_v3", "simclr", "swav"])
def test_a_students_own_loss_is_that_of_its_base(method: str) -> None:
    recipe = built("dnc", 3000, method=method)
    assert isinstance(recipe, DnC)
    student = recipe.student.beside(recipe.base)
    assert (student.own, student.method, student.options) == (OWN, method, recipe.base.options)


@pytest.mark.parametrize("method", sorted(set(method_names()) - PAIRED))
def test_beside_a_method_of_one_view_a_student_has_no_loss_of_its_own(method: str) -> None:
    recipe = built("dnc", 3000, method=method)
    assert isinstance(recipe, DnC) and recipe.student.own == 0
    asked = with_options(recipe, {"student.own": 0.5})
    with pytest.raises(UsageError, match=f"{method} does not; type student.own=0"):
        asked.check(None)


@pytest.mark.parametrize("name", ["dnc_1000", "dnc_3000", "dnc_4500"])
def test_the_papers_student_has_no_loss_of_its_own_and_the_key_of_older_runs(name: str) -> None:
    recipe = built(name, 3000)
    assert isinstance(recipe, DnC) and recipe.student.own == 0
    odd = with_options(recipe, {"student.method": "byol", "student.options.hidden": 7})
    for student in (recipe.student.beside(recipe.base), odd.student.beside(recipe.base)):
        key = to_json_value(student)
        assert isinstance(key, dict) and key["base_share"] == 0.5 and not {"own", "method", "options"} & key.keys()


def test_a_students_own_method_follows_the_options_of_the_base_and_may_differ() -> None:
    recipe = built("dnc", 3000)
    other = with_options(recipe, {"base.options.temperature": 0.3, "student.options.momentum": 0.5})
    assert isinstance(other, DnC)
    student = other.student.beside(other.base)
    assert student.options == {**recipe.base.options, "temperature": 0.3, "momentum": 0.5}
    byol = with_options(recipe, {"student.method": "byol"})
    with pytest.raises(UsageError, match=r"student\.start=base, but this network has another shape"):
        byol.check(None)
    scratch = with_options(byol, {"student.start": "scratch"})
    scratch.check(None)
    assert "temperature" not in scratch.student.beside(scratch.base).options


@pytest.mark.parametrize("layer", ["pool", "projection"])
@pytest.mark.parametrize("view", ["same", "center"])
def test_a_student_with_a_loss_of_its_own_starts_as_the_base_and_keeps_its_projector(
    layer: str, view: str, photos: Path, tmp_path: Path, tiny: dict[str, object]
) -> None:
    how = {"student.layer": layer, "student.teacher_view": view, "student.lr": 1e-12}
    run = ran(photos, tmp_path / "run", tiny, recipe="dnc", epochs=1, **how)
    base, student = (Trained.load(run / name).net for name in ("base", "student"))
    assert student.layers == base.layers == ("pool", "hidden", "projection")
    for p, q in zip(base.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-6, rtol=1e-6)
    line = json.loads((run / "student/metrics.jsonl").read_text().splitlines()[-1])
    taught = BASE_SHARE * line["base"] + (1 - BASE_SHARE) * line["expert"]
    assert line["loss"] == pytest.approx(taught + OWN * line["own"], rel=1e-4)


@pytest.mark.parametrize("method", ["byol", "simclr"])
def test_the_papers_divide_and_contrast_takes_other_methods(
    method: str, photos: Path, tmp_path: Path, tiny: dict[str, object]
) -> None:
    run = ran(photos, tmp_path / "run", tiny, recipe="dnc_3000", method=method, epochs=1)
    student = Trained.load(run / "student").net
    assert student.projector is not None and (student.projector_spec.hidden, student.projector_spec.dim) == (32, 16)


@pytest.mark.parametrize("method", sorted(set(SINGLE.values()) - {"moclr"}))
@pytest.mark.parametrize("n", [16, 3000])
def test_a_method_has_its_own_settings_in_divide_and_contrast_too(method: str, n: int) -> None:
    both = built("dnc", n, method=method)
    assert isinstance(both, DnC)
    alone = built({"local_aggregation": "local_aggregation"}.get(method, method), n)
    assert both.base.options == both.expert.options == alone.base.options and both.base.lr == alone.base.lr
    assert (both.base.start, both.expert.start, both.student.start) == ("scratch", "base", "base")


@pytest.mark.parametrize(("name", "method"), SINGLE.items())
def test_a_recipe_and_its_papers_are_of_the_same_method(name: str, method: str) -> None:
    assert built(name).base.method == built(f"{name}_paper").base.method == method


def test_simclr_v2_has_a_third_layer() -> None:
    layers = [built(name).base.options["layers"] for name in ("simclr", "simclr_paper", "simclr_v2", "simclr_v2_paper")]
    assert layers == [2, 2, 3, 3]
    one, other = built("simclr_paper").base, built("simclr_v2_paper").base
    assert (one.weight_decay, other.weight_decay) == (1e-6, 1e-4) and one.lr == other.lr == 0.3
