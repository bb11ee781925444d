"""Divide and Contrast with methods other than MoCLR (https://arxiv.org/abs/2105.08054, tables 15 and 16), and recipes of
one method alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from test_recipes import built

import divcon
from divcon.nets.trained import Trained
from divcon.pipelines.dnc import DnC

STAGES = ["base", "clusters", "experts/0", "experts/1", "checks", "student"]
SINGLE = {
    "simclr": "simclr", "simclr_v2": "simclr", "moco": "moco", "moco_v3": "moco_v3", "byol": "byol", "moclr": "moclr",
    "npid": "npid", "local_aggregation": "local_aggregation",
}  # fmt: skip


def ran(photos: Path, out: Path, tiny: dict[str, object], **options: Any) -> Path:
    done = divcon.run(photos, out=out, **{**tiny, **options})
    assert done.done and done.did == STAGES
    return out


@pytest.mark.parametrize("method", ["byol", "simclr", "moco", "moco_v3", "npid"])
def test_experts_begin_from_a_base_of_any_method_and_its_student_distils_pools(
    method: str, photos: Path, tmp_path: Path, tiny: dict[str, object]
) -> None:
    """An expert that is not moved is the base."""
    run = ran(photos, tmp_path / "run", tiny, recipe="dnc", method=method, epochs=1, **{"expert.lr": 1e-12})
    base, expert, student = (Trained.load(run / name).net for name in ("base", "experts/1", "student"))
    for p, q in zip(base.parameters(), expert.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-6, rtol=1e-6)
    assert base.projector is not None and student.projector is None


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
