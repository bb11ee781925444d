"""Encoders of timm are built for the size of the views, tried before the training, and read back from disk."""

import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import divcon
from divcon.api.encoder_check import check_encoders
from divcon.api.models import find_model
from divcon.errors import InputError, UsageError
from divcon.files.tensors import write_tensors
from divcon.methods.contract import Batch, Step
from divcon.methods.moclr import MoCLR
from divcon.methods.registry import method_named
from divcon.nets.encoder import EncoderSpec, build, check_spec
from divcon.nets.encoder_trial import first_size_error, size_error, working_sizes
from divcon.nets.net import Net, width
from divcon.nets.trained import InputSpec, Trained
from divcon.recipes import Options
from divcon.recipes import named as recipe_named

SMALL = [
    "test_vit", "test_vit2", "test_vit_relpos", "test_resnet", "test_convnext", "test_efficientnet", "test_byobnet",
    "test_coatnet", "test_nfnet", "test_mambaout",
]  # fmt: skip
TINY: dict[str, Any] = {"recipe": "moclr", "batch_size": 16, "hidden": 16, "dim": 8, "precision": "fp32", "epochs": 0.2}


def noise(n: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def refusal(photos: Path, out: Path, **options: Any) -> str:
    """The message of a run that is refused before it writes anything."""
    with pytest.raises(UsageError) as refused:
        divcon.run(photos, out=out, **{**TINY, **options})
    assert not out.exists()
    return str(refused.value)


# built for the size


@pytest.mark.parametrize("name", SMALL)
def test_a_network_of_every_kind_trains_at_the_default_size_and_comes_back_from_disk(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = EncoderSpec(name)
    method = MoCLR(build(spec, 64), 64, hidden=16, dim=8).train()
    method(Batch([noise(4, 64), noise(4, 64, 1)], torch.arange(4)), Step(0, 1, 0)).loss.backward()
    gradients = [p.grad for p in method.net.encoder.parameters() if p.grad is not None]
    assert gradients and all(bool(g.isfinite().all()) for g in gradients)
    model = Trained(spec, InputSpec(64), method.net.eval())
    model.save(tmp_path)
    with torch.no_grad():
        assert torch.equal(Trained.load(tmp_path).net(noise(2, 64)), model.net(noise(2, 64)))


def test_a_network_with_positions_has_one_for_each_patch_of_a_view() -> None:
    shapes = {size: tuple(build(EncoderSpec("test_vit"), size).state_dict()["pos_embed"].shape) for size in (32, 64)}
    assert shapes == {32: (1, 5, 64), 64: (1, 17, 64)}


def test_a_size_that_is_asked_for_in_the_options_wins() -> None:
    encoder = build(EncoderSpec("test_vit", {"img_size": 160}), 64)
    assert encoder.state_dict()["pos_embed"].shape[1] == 101
    assert size_error(encoder, 64) is None


def test_one_network_takes_the_sizes_of_all_views_where_its_family_can() -> None:
    assert first_size_error(EncoderSpec("test_vit"), 64, [64, 32]) is None
    assert first_size_error(EncoderSpec("test_vit_relpos"), 64, [64, 32]) is not None


def test_a_run_with_a_vision_transformer_and_small_crops_ends_and_its_encoder_sees_the_images(
    photos: Path, tmp_path: Path
) -> None:
    options = {**TINY, "recipe": "swav", "base.options.prototypes": 8, "epochs": 0.1}
    divcon.run(photos, out=tmp_path / "run", encoder="test_vit", size=32, limit=32, **options)
    encoder = divcon.load(tmp_path / "run")
    assert encoder(noise(2, 32)).shape == (2, 64)


# tried before work begins


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"encoder": "test_vit2", "size": 33}, r"33 pixels \(.*patch size \(16\)\).*size=32 or size=48 or size=160"),
        ({"encoder": "test_convnext", "size": 30}, r"30 pixels.*size=32"),
        ({"encoder": "test_convnext", "size": 48, "recipe": "swav"}, r"24 pixels.*size=48.*base.options.crops=0"),
        ({"encoder": "test_convnext", "size": 48, "recipe": "deepcluster_v2"}, r"24 pixels.*base.options.crops=0"),
        ({"encoder": "test_vit", "size": 64, "recipe": "jigsaw"}, r"36 pixels.*dynamic_img_pad"),
        ({"encoder": "test_convnext", "size": 32, "recipe": "context"}, r"base.options.zoom=5 would work"),
    ],
)  # fmt: skip
def test_an_encoder_that_does_not_take_a_views_size_is_refused_with_what_works(
    options: dict[str, Any], said: str, photos: Path, tmp_path: Path
) -> None:
    known = {"recipe": options.get("recipe", "moclr"), "hidden": None, "dim": None}
    assert re.search(said, refusal(photos, tmp_path / "run", **{**known, **options}))


def test_the_sizes_that_are_named_work() -> None:
    for name, size in (("test_vit", 30), ("test_convnext", 20), ("test_coatnet", 50)):
        spec = EncoderSpec(name)
        assert first_size_error(spec, size, [size]) is not None
        found = working_sizes(spec, size, lambda size: [size], 224)
        assert found and all(first_size_error(spec, other, [other]) is None for other in found)


def test_filling_up_to_whole_patches_works_where_it_is_named() -> None:
    spec = EncoderSpec("test_vit", {"dynamic_img_pad": True})
    assert first_size_error(spec, 64, [64, 36]) is None


def test_a_check_that_says_nothing_is_quoted() -> None:
    class Silent(nn.Module):
        num_features = 3

        def forward(self, x: Tensor) -> Tensor:
            if x.shape[-1] % 8:
                raise AssertionError
            return x.mean((2, 3))

    assert "raise AssertionError" in str(size_error(Silent(), 12)) and size_error(Silent(), 16) is None


@pytest.mark.parametrize("gives", ["maps", "a pair", "too few"])
def test_an_encoder_that_gives_no_row_of_features_an_image_is_refused_in_words(gives: str) -> None:
    class Odd(nn.Module):
        num_features = 3

        def forward(self, x: Tensor) -> Any:
            pool = x.mean((2, 3))
            return {"maps": x, "a pair": (pool, pool), "too few": pool[:, :2]}[gives]

    assert re.search(r"gives (a tuple|features of shape \[1, (3, 8, 8|2)\]), not", str(size_error(Odd(), 8)))


def test_the_smallest_maps_and_batches_fail_no_encoder() -> None:
    for name in ("slim10_w8", "test_resnet", "test_efficientnet"):
        assert first_size_error(EncoderSpec(name, stem="own"), 8, [8]) is None


def test_trying_an_encoder_leaves_torchs_random_numbers_as_they_were() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first_size_error(EncoderSpec("test_vit"), 33, [33, 32])
    options = Options(recipe="swav", encoder="test_resnet", size=32, batch_size=16, views="mild")
    check_encoders(recipe_named("swav").recipe(options, 160))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_look_at_a_trained_network_changes_neither_its_mode_nor_its_weights_and_statistics() -> None:
    encoder = build(EncoderSpec("test_resnet"), 32)
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    for training in (True, False):
        assert size_error(encoder.train(training), 32) is None
        assert encoder.training == training
    assert all(torch.equal(value, state[name]) for name, value in encoder.state_dict().items())


def test_a_network_is_looked_at_where_it_is() -> None:
    assert size_error(build(EncoderSpec("test_resnet"), 32).to("meta"), 32) is None
    assert size_error(build(EncoderSpec("test_resnet"), 32).double(), 32) is None


def test_building_a_network_of_a_family_without_other_sizes_draws_no_number_twice() -> None:
    torch.manual_seed(0)
    ours = build(EncoderSpec("test_vit_relpos"), 64).state_dict()
    torch.manual_seed(0)
    timms = timm.create_model("test_vit_relpos", num_classes=0, img_size=64).state_dict()
    assert all(torch.equal(value, ours[name]) for name, value in timms.items())


@pytest.mark.parametrize("method", ["moclr", "swav", "jigsaw", "context", "rotation", "deepcluster_v2"])
def test_a_method_says_how_wide_the_images_are_that_its_encoder_is_shown(method: str) -> None:
    shown: set[int] = set()
    encoder = build(EncoderSpec("slim10_w8"), 32)
    encoder.register_forward_pre_hook(lambda module, given: shown.add(given[0].shape[-1]))
    one = method_named(method)(encoder, 64, **({"permutations": 8} if method == "jigsaw" else {}))
    pair = Options(recipe="moclr", encoder="slim10_w8", size=32, batch_size=16, views="mild")
    views = recipe_named("moclr").recipe(pair, 64).base.pair()
    batch = Batch([noise(8, view.size) for view in one.views(views)], torch.arange(8))
    one(batch, Step(0, 1, 0))
    assert shown == one.sides(views)


# a model that was trained, or none


def test_a_model_at_a_size_its_network_does_not_take_is_refused_in_words(photos: Path, tmp_path: Path) -> None:
    spec = EncoderSpec("test_vit")
    Trained(spec, InputSpec(30), Net(build(spec, 30))).save(tmp_path)
    with pytest.raises(UsageError, match=r"test_vit does not take images of 30 pixels.*patch size"):
        divcon.embed(tmp_path, photos, out=tmp_path / "photos.parquet")


def test_an_untrained_network_of_a_fixed_size_is_shown_images_of_that_size() -> None:
    model = find_model("random:test_vit_relpos")
    assert model.input_spec.size == 160 and size_error(model.net.encoder, 160) is None
    assert find_model("random:test_resnet").input_spec.size == 224


def test_weights_of_a_network_for_another_size_are_refused_before_work_begins(photos: Path, tmp_path: Path) -> None:
    spec = EncoderSpec("test_vit")
    Trained(spec, InputSpec(64), Net(build(spec, 64))).save(tmp_path / "stage")
    said = refusal(photos, tmp_path / "run", encoder="test_vit", size=32, init=str(tmp_path / "stage"))
    assert "images of another size" in said and "pos_embed" in said


def test_a_network_that_has_a_module_in_two_places_can_be_saved(tmp_path: Path) -> None:
    shared = nn.Linear(3, 4)
    network = nn.ModuleDict({"one": shared, "other": shared})
    write_tensors(tmp_path / "weights", network.state_dict())
    found = load_file(tmp_path / "weights")
    assert torch.equal(found["one.weight"], found["other.weight"]) and len(found) == 4


# weights by name


def test_a_name_with_a_tag_is_the_network_and_chooses_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = EncoderSpec("test_resnet.r160_in1k", init="timm")
    check_spec(spec)
    asked: list[tuple[str, bool]] = []
    create = timm.create_model

    def watched(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        asked.append((name, pretrained))
        network: nn.Module = create(name, pretrained=False, **options)
        return network

    monkeypatch.setattr(timm, "create_model", watched)
    assert width(build(spec, 64)) == width(build(EncoderSpec("test_resnet"), 64))
    assert asked == [("test_resnet.r160_in1k", True), ("test_resnet", False)]


@pytest.mark.parametrize(
    ("name", "init", "said"),
    [
        ("resnet18.a1_in1k", "random", r"init=timm, or encoder=resnet18$"),
        ("resnet18.no_such_weights", "timm", r"no weights 'no_such_weights'; among its weights are a1_in1k"),
        ("resnet19.a1_in1k", "timm", r"did you mean"),
        ("slim10", "timm", r"slim10 is not a model of timm"),
        ("regnety_002.", "random", "no weights ''"),
    ],
)  # fmt: skip
def test_weights_that_are_not_there_or_not_used_are_refused_before_work_begins(
    name: str, init: str, said: str, photos: Path, tmp_path: Path
) -> None:
    assert re.search(said, refusal(photos, tmp_path / "run", encoder=name, init=init))


def test_weights_that_can_not_be_fetched_end_a_run_before_it_begins(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: Any, **__: Any) -> nn.Module:
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(timm, "create_model", offline)
    for options in ({}, {"base.encoder.options": {"drop_path_rate": 0.1}}):
        with pytest.raises(InputError, match=r"init=timm: the weights of test_resnet could not be had.*not known"):
            divcon.run(photos, out=tmp_path / "run", **{**TINY, "encoder": "test_resnet", "init": "timm", **options})
    assert not (tmp_path / "run").exists()
