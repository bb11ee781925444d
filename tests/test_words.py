"""Messages name options as they are typed; programs may pass paths and pictures of any usual kind."""

import dataclasses
import io
import json
import os
import re
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from PIL import Image
from test_cli import told
from test_cli import typed as command

import divcon
from divcon.api import index, models, run_plan
from divcon.api.behavior import Behavior
from divcon.api.encoder_check import check_encoders
from divcon.api.entry import PATH_ARGUMENTS, path_arguments, runs_concurrently
from divcon.api.preflight import refuse_what_fails_later
from divcon.cli import _with_interrupt_error
from divcon.config import parse_options, validate_fields, with_options
from divcon.data.images import open_images
from divcon.errors import DataError, FaultError, StoppedError, UsageError
from divcon.files.paths import as_paths
from divcon.machine import Machine
from divcon.methods.contract import Step
from divcon.nets.trained import InputSpec
from divcon.pipelines.recipe import Recipe
from divcon.recipes import Options, named
from divcon.signals import deferred_signals
from divcon.train.loaded_encoder import Preprocess
from divcon.train.nonfinite import StepValues
from divcon.train.nonfinite import check as guard_check


def recipe(words: list[str], **short: Any) -> Recipe:
    options = Options(
        **{"recipe": "dnc", "size": 50, "batch_size": 16, "views": "mild", "hidden": 16, "dim": 8, **short}
    )
    return with_options(named(options.recipe).recipe(options, 160), parse_options(words))


def refusal(words: list[str], **short: Any) -> str:
    """The message with which a recipe is refused, before any work."""
    asked = recipe(words, **short)
    with pytest.raises(UsageError) as refused:
        refuse_what_fails_later(asked, None, 160, set(), Machine())
    return str(refused.value)


# messages that can be pasted


@pytest.mark.parametrize(
    ("short", "words", "places"),
    [
        ({}, [], ["base", "expert", "student"]),
        ({}, ["base.encoder.options.dynamic_img_pad=true"], ["expert", "student"]),
        ({"recipe": "clusterfit"}, [], ["base", "refit"]),
        ({"recipe": "moclr"}, [], ["base"]),
    ],
)
def test_what_is_said_to_fill_up_patches_is_all_that_has_to_be_typed(
    short: dict[str, Any], words: list[str], places: list[str]
) -> None:
    said = refusal(words, encoder="test_vit", **short)
    pasted = re.findall(r"\S+\.dynamic_img_pad=true", said)
    assert [word.partition(".")[0] for word in pasted] == places
    check_encoders(recipe([*words, *pasted], encoder="test_vit", **short))


def test_an_option_of_a_method_is_named_for_every_training_that_needs_it() -> None:
    short: dict[str, Any] = {"encoder": "test_convnext", "size": 48, "method": "swav", "hidden": None, "dim": None}
    said = refusal([], **short)
    pasted = re.findall(r"\S+\.options\.crops=0", said)
    assert len(pasted) > 1
    check_encoders(recipe(pasted, **short))


@pytest.mark.parametrize(
    ("words", "short", "said"),
    [
        (['base.encoder.options={"nope":1}'], {"encoder": "test_resnet"}, "base.encoder.options: test_resnet does not"),
        (['expert.encoder.options={"nope":1}'], {"encoder": "test_resnet"}, "expert.encoder.options: test_resnet"),
        (
            ["base.encoder.options.a=1"],
            {"encoder": "slim10", "recipe": "moclr"},
            "base.encoder.options: slim10 has none",
        ),
        (
            ["base.encoder.stem=small"],
            {"encoder": "test_vit", "recipe": "moclr", "size": 64},
            "base.encoder.stem=small",
        ),
    ],
)
def test_an_option_that_is_refused_is_named_as_it_is_typed(words: list[str], short: dict[str, Any], said: str) -> None:
    assert refusal(words, **short).startswith(said)


def test_an_option_is_blamed_and_not_the_size_where_it_is_to_blame() -> None:
    words = ["base.encoder.options.global_pool=", "base.encoder.options.drop_path_rate=0.1"]
    said = refusal(words, encoder="test_resnet", size=32, recipe="moclr")
    assert said.startswith("with base.encoder.options.global_pool, ") and "another encoder" not in said
    assert "leave it out" in said
    check_encoders(recipe(words[1:], encoder="test_resnet", size=32, recipe="moclr"))


@pytest.mark.parametrize("value", ["[1, 2]", "[1]", "[1, 2, 3, 4]", "7"])
@pytest.mark.parametrize("name", ["mean", "std"])
def test_three_numbers_are_said_to_be_wanted(name: str, value: str) -> None:
    with pytest.raises(UsageError) as refused:
        validate_fields(Options, parse_options([f"{name}={value}"]))
    assert str(refused.value) == f"{name}={value}: 3 numbers are wanted, like [1, 2, 3]"


def test_one_cluster_is_not_called_clusters() -> None:
    with pytest.raises(DataError, match=r"at most 1 cluster can have"):
        asked = recipe(["clusters.k=2", "clusters.smallest=100"], encoder="slim10")
        refuse_what_fails_later(asked, None, 160, {"clusters.k"}, Machine())


@pytest.mark.parametrize(
    ("step", "said"), [(0, "Set precision=fp32"), (1, "Lower the stage's lr, or set precision=fp32")]
)
def test_a_loss_that_is_not_finite_before_any_move_is_not_laid_to_the_rate(step: int, said: str) -> None:
    nan = torch.tensor(float("nan"))
    with pytest.raises(FaultError) as refused:
        guard_check(StepValues(torch.tensor(1.0), nan, nan, torch.arange(2), Step(step, 9, 0)))
    assert str(refused.value).endswith(f". {said}")


@pytest.mark.parametrize("only", ["foo", "experts/9", "experts/x", "base/0"])
def test_a_stage_that_is_not_there_is_refused_in_a_plan_too(
    only: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", str(photos), f"out={tmp_path / 'run'}", "encoder=slim10_w8", "size=16", "clusters.k=2", "limit=32"]
    code, line = told([*words, "clusters.smallest=8", "--only", only, "--plan"], capsys)
    assert code == 64 and f"unknown stage '{only}'" in line


def test_a_plan_of_one_stage_is_of_that_stage(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "run",
        str(photos),
        f"out={tmp_path / 'run'}",
        "encoder=slim10_w8",
        "size=16",
        "limit=32",
        "recipe=clusterfit",
    ]
    assert command([*words, "--only", "base", "--plan", "--json"]) == 0
    stages = [stage["stage"] for stage in json.loads(capsys.readouterr().out)["stages"]]
    assert stages in (["base"], ["pixels", "base"])


def test_a_second_ctrl_c_says_what_is_kept() -> None:
    def verb() -> None:
        with deferred_signals():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(
        (StoppedError, KeyboardInterrupt), match="second Ctrl-C: all that was saved before is kept"
    ) as stopped:
        _with_interrupt_error(verb)()
    assert isinstance(stopped.value, StoppedError) and stopped.value.code == 130


# the collection


def test_a_sheet_inside_the_pile_is_refused_with_a_place_outside(photos: Path, tmp_path: Path, cache: Path) -> None:
    pile, (inner, *_) = tmp_path / "a pile", [path for path in photos.iterdir() if path.is_dir()]
    pile.symlink_to(photos)
    for sheet in (photos / "sheet.png", photos / inner.name / "new" / "sheet.png", pile / "sheet.png"):
        with pytest.raises(UsageError, match=r"sheet=.* lies inside the collection.*like sheet=\S+sheet\.png$"):
            divcon.look(photos, sheet=sheet, cache=cache)
    with pytest.raises(UsageError, match="lies inside"):
        divcon.look([photos], sheet=photos / "sheet.png", cache=cache)
    assert not list(photos.rglob("sheet.png"))


def test_the_tars_of_one_folder_are_counted_for_its_pattern(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.tar", "c.tar", "b.tar.gz", "more/d.tar"):
        (tmp_path / "pile" / name).parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(tmp_path / "pile" / name, "w:gz" if name.endswith("gz") else "w") as tar:
            tar.add(__file__, "words.py")
    with pytest.raises(
        DataError, match=r"images in 2 tar shards \(1 more in other folders\), name them: \S+/pile/\*\.tar'?"
    ):
        open_images(tmp_path / "pile", cache=cache)


# arguments of programs


class Named(os.PathLike[str]):
    """A path-like object of another library."""

    def __init__(self, path: Path):
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


@pytest.mark.parametrize("kind", [Named, os.fsencode, PurePosixPath, os.fspath])
def test_a_path_of_any_kind_is_a_path(kind: Any, photos: Path, tmp_path: Path, cache: Path) -> None:
    assert as_paths(kind(photos)) == as_paths([kind(photos)]) == [photos]
    used = divcon.look(photos, cache=cache).used
    assert divcon.look(kind(photos), cache=kind(cache), sheet=kind(tmp_path / "sheet.png")).used == used
    assert divcon.look([kind(photos)], cache=cache).used == used
    divcon.embed("random:slim10_w8", kind(photos), out=kind(tmp_path / "e.parquet"), cache=cache)
    assert (tmp_path / "sheet.png").exists() and (tmp_path / "e.parquet").exists()


def test_gray_and_transparent_arrays_are_shown_as_files_of_the_same_pixels() -> None:
    preprocess, rng = Preprocess(InputSpec(16)), np.random.default_rng(0)
    for shape in ((40, 30), (40, 30, 4)):
        pixels = rng.integers(0, 256, shape, np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, format="PNG")
        assert torch.equal(preprocess(pixels), preprocess(file.getvalue()))


def test_bytes_of_any_kind_are_the_bytes_of_a_file() -> None:
    preprocess, file = Preprocess(InputSpec(16)), io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)).save(file, format="PNG")
    shown = preprocess(file.getvalue())
    assert torch.equal(preprocess(bytearray(file.getvalue())), shown)
    assert torch.equal(preprocess(file.getbuffer()), shown)


# every path argument is known to entry.py

TEXTS = {
    "recipe",
    "encoder",
    "method",
    "log",
    "views",
    "device",
    "include",
    "exclude",
    "split",
    "name",
    "stage",
    "only",
    "tasks",
    "optimizer",
    "options",
}  # fmt: skip - free text, and no path
VERBS = tuple(getattr(divcon, name) for name in divcon.__all__)


def fields(kind: Any) -> Iterator[tuple[str, Any]]:
    """Yield every option of a recipe with its type."""
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[field.name]):
            yield from fields(hints[field.name])
        else:
            yield field.name, hints[field.name]


def takes_text(hint: Any) -> bool:
    """Return True if the option accepts any text."""
    parts = {hint, *getattr(hint, "__args__", ())}
    return bool({str, Path} & {part for part in parts if isinstance(part, type)})


def test_every_argument_of_a_verb_that_may_be_a_path_is_converted_as_one() -> None:
    @runs_concurrently
    def look(image: str | Path, *, out: Path | None = None, name: str = "~") -> tuple[object, ...]:
        return image, out, name

    assert look("~/a.png", out=Path("~/b")) == (str(Path("~/a.png").expanduser()), Path("~/b").expanduser(), "~")
    lists = (divcon.list_encoders, divcon.list_methods, divcon.list_recipes)  # they take no argument
    for verb in (*VERBS, index.index, models.find_model, run_plan.prepare_run):
        assert path_arguments(verb) or verb in (divcon.demo, *lists), verb


def test_every_option_that_may_be_any_text_is_known_to_be_a_path_or_none() -> None:
    for kind in (Options, Behavior, *Recipe.__subclasses__()):
        for name, hint in fields(kind):
            assert not takes_text(hint) or name in PATH_ARGUMENTS | TEXTS, (kind, name)
