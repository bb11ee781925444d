"""The contract: what every file in divcon/methods has to keep. A new method is found, and tried, by itself.

That two ranks have the loss and the gradient of one is tried, for every method, in test_distributed.
"""

import functools
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from divcon import dist
from divcon.config import parse_options
from divcon.data.pixels.packed import PackedImages
from divcon.data.pixels.pixel_cache import CachedPixels
from divcon.data.views.presets import center
from divcon.data.views.render import views_of
from divcon.data.views.view import View
from divcon.errors import UsageError
from divcon.files.integrity import read_json
from divcon.machine import Machine
from divcon.methods import contract, registry
from divcon.methods.contract import Batch, Method, Step
from divcon.methods.distill import Distill
from divcon.nets.batch_norm import over_all_ranks
from divcon.nets.encoder import EncoderSpec, build
from divcon.nets.momentum import Momentum, momentum_at
from divcon.nets.net import Layer, Net
from divcon.nets.teacher import Teacher
from divcon.nets.trained import InputSpec
from divcon.runs.stage import StageContext
from divcon.train import checkpoints
from divcon.train.encode import encode, to_input
from divcon.train.loop import Training, fit
from divcon.train.optimizers import make_optimizer

N, SIZE, BATCH = 64, 16, 16
SMALL = {"hidden": 32, "dim": 16}
TINY = {
    **SMALL, "queue": 24, "prototypes": 10, "hold": 0.0, "queue_from": 0, "crops": 1, "clusters": 6, "heads": 2, "components": 12,
    "permutations": 4, "channels": 32,
}  # fmt: skip
METHODS = registry.method_files()
PUZZLES = {"rotation", "jigsaw", "context"}  # nothing to be learned where all directions are alike
POOLS, KEPT = "distill of pools", "distill of kept"  # a method of several kinds
BESIDE = {  # students with a method of their own
    "distill of pools beside moclr": "moclr", "distill of pools beside swav": "swav", "distill of projections beside moco": "moco",
}  # fmt: skip
WHOLE, CLOSE = "npid of the whole softmax", "local_aggregation of close neighbors"
KIND_OPTIONS: dict[str, dict[str, Any]] = {WHOLE: {"negatives": 0}, CLOSE: {"recognition": 0.0}}
KINDS = [*METHODS, POOLS, KEPT, *BESIDE, *KIND_OPTIONS]
CALM = View(SIZE, area=(0.6, 1.0), jitter=0.0, gray=0.0)
PAIR = CALM, CALM
SIGHT = InputSpec(SIZE)


# toys


def toy_pixels(n: int = N, striped: bool = False) -> CachedPixels:
    """Colored patterns; every third is of one kind. Striped in their lower half, up is not down."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 120, (n, 4, 4, 3), np.uint8)
    coarse[np.arange(n), :, :, np.arange(n) % 3] += 120
    fine = coarse.repeat(6, 1).repeat(6, 2)
    if striped:
        fine[:, 12:, ::2] //= 3
    return CachedPixels(PackedImages.from_arrays(list(fine)), np.arange(n))


@functools.cache
def wanted_views(kind: str) -> tuple[View, ...]:
    return built(kind).views(PAIR)


def toy_batch(kind: str, index: np.ndarray | None = None, seed: int = 0) -> Batch:
    """Views, as the loop would make them, of the first images or of those of an index."""
    pixels, index = toy_pixels(), np.arange(BATCH) if index is None else index
    views = [
        to_input(views_of(view, *pixels.read(index), (seed, i), index), SIGHT, Machine())
        for i, view in enumerate(wanted_views(kind))
    ]
    return Batch(views, torch.from_numpy(index))


def mine(x: Tensor) -> Tensor:
    """This rank's part of the rows: a contiguous share, as Order gives it; on one process, all."""
    share = len(x) // dist.world_size()
    return x[dist.rank() * share : (dist.rank() + 1) * share]


def toy_teachers(place: Layer = "projection") -> list[Teacher]:
    """A base and three experts, whose batch norms know the toy images."""
    pixels, all_of_them, teachers = toy_pixels(), np.arange(N), []
    images = to_input(views_of(center(SIZE), *pixels.read(all_of_them), (), all_of_them), SIGHT, Machine())
    for seed in range(4):
        torch.manual_seed(seed)
        net = Net(over_all_ranks(build(EncoderSpec("slim10_w8"), SIZE)), **SMALL)
        for part in net.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.momentum = 1.0
        with torch.no_grad(), dist.alone():
            net.train()(images)
        usual = None if place == "projection" else encode(net, SIGHT, pixels, Machine(), layer=place)
        teachers.append(Teacher(net, place, usual))
    return teachers


# what some methods are given besides an encoder and the number of images, by the name of the parameter
GIVEN: dict[str, Callable[[], Any]] = {"labels": lambda: torch.arange(N) % 3, "teachers": toy_teachers}
SAID = torch.randn(N, 2, SMALL["dim"], generator=torch.Generator().manual_seed(0))


def class_of(kind: str) -> type[Method]:
    """Of a method by name, or of a kind of it: "distill of pools"."""
    return registry.method_named(kind.partition(" of ")[0])


def built(name: str, seed: int = 0, **options: Any) -> Method:
    """The method around a small encoder."""
    of = class_of(name)
    parameters = list(inspect.signature(of).parameters.values())
    wanted = [p.name for p in parameters[2:] if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty]
    assert set(wanted) <= set(GIVEN), f"{name} is given {wanted}: say in GIVEN, above, what that is here"
    small = {key: value for key, value in TINY.items() if key in registry.options_of(of)}
    given = [toy_teachers("pool") if name.startswith(POOLS) and key == "teachers" else GIVEN[key]() for key in wanted]
    given += [lambda index: SAID[index]] if name == KEPT else []
    torch.manual_seed(seed)
    encoder = over_all_ranks(build(EncoderSpec("slim10_w8"), SIZE))
    given += [None, around(encoder, BESIDE[name])] if name in BESIDE else []
    method = of(encoder, N, *given, **{**small, **KIND_OPTIONS.get(name, {}), **options}).train()
    if name == CLOSE:
        method.before_epoch(lambda place: torch.zeros(N, 1), Step(0, 10, 0))
    return method


def around(encoder: nn.Module, name: str) -> Method:
    """A method that learns alone, around an encoder."""
    of = registry.method_named(name)
    return of(encoder, N, **{key: value for key, value in TINY.items() if key in registry.options_of(of)})


def trained(
    name: str,
    folder: Path,
    steps: int,
    *,
    die_at: int | None = None,
    save_every: float = 1e9,
    striped: bool = False,
    lr: float = 0.03,
    one_look: bool = False,
    **options: Any,
) -> list[dict[str, Any]]:
    """Train in a folder, going on with what is there; the journal's lines. Dies in a forward if told to."""
    method = built(name, **options)
    forward, before_epoch = method.forward, method.before_epoch
    if one_look:
        method.before_epoch = lambda look, at: before_epoch(look, at) if at.step == 0 else None

    def mortal(batch: Batch, at: Step) -> contract.Outcome:
        outcome = forward(batch, at)
        if at.step == die_at:
            raise KeyboardInterrupt
        return outcome

    method.forward = mortal
    folder.mkdir(exist_ok=True)
    work = StageContext(folder, name, Machine(), folder, save_every=save_every)
    training = Training(samples_seen=steps * BATCH, batch_size=BATCH, optimizer="adamw", lr=lr, weight_decay=1e-2)
    try:
        fit(work, method, toy_pixels(striped=striped), training, PAIR, SIGHT)
    except KeyboardInterrupt:
        assert die_at is not None
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def trainable(method: nn.Module) -> dict[str, Tensor]:
    return {name: p for name, p in method.named_parameters() if p.requires_grad}


def state(method: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in method.state_dict().items()}


def moved(before: dict[str, Tensor], method: nn.Module) -> set[str]:
    now = method.state_dict()
    assert now.keys() == before.keys()
    return {name for name, value in before.items() if not torch.equal(value, now[name])}


def is_statistic(name: str) -> bool:
    return name.rpartition(".")[2] in {"running_mean", "running_var", "num_batches_tracked"}


AT = Step(3, 10, 0)


def loss_of(method: Method, batch: Batch) -> Tensor:
    """With torch's random numbers as the loop has them: of a seed."""
    torch.manual_seed(0)
    return method(batch, AT).loss


every_method = pytest.mark.parametrize("name", METHODS)
every_kind = pytest.mark.parametrize("name", KINDS)


def test_the_methods_of_the_paper_are_here() -> None:
    assert {"moclr", "simclr", "distill", "classify"} <= set(METHODS)


# the loss


@every_kind
def test_the_loss_is_one_finite_number_in_float32_and_the_same_each_time(name: str) -> None:
    method, batch = built(name), toy_batch(name)
    torch.manual_seed(0)
    one = method(batch, AT)
    torch.manual_seed(0)
    other = method(batch, AT)
    assert one.loss.shape == () and one.loss.dtype == torch.float32 and torch.isfinite(one.loss)
    assert one.loss.item() == other.loss.item()


@every_kind
def test_the_loss_falls(name: str, tmp_path: Path) -> None:
    brief: dict[str, Any] = {"momentum": None} if "momentum" in registry.options_of(class_of(name)) else {}
    brief |= {"temperature": 0.2} if name == "moco_v3" else {}  # of 1 it leaves the loss little room to fall
    # patches of five pixels are hard to place, and harder in one color; a classifier that begins anew every four steps
    # gets nowhere
    brief |= {"context": {"drop": 0.0, "lr": 0.1}, "deepcluster": {"one_look": True, "lr": 0.1}}.get(name, {})
    steps = 120 if name == "context" else 60
    losses = [line["loss"] for line in trained(name, tmp_path, steps, striped=name in PUZZLES, **brief)]
    assert len(losses) == steps and np.isfinite(losses).all()
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:5])


@every_kind
def test_under_bf16_the_loss_stays_in_float32_and_close(name: str) -> None:
    method, batch = built(name), toy_batch(name)
    full, seen = loss_of(method, batch), method.net(batch.views[0], "pool")
    with Machine(precision="bf16").autocast():
        half, seen_by_half = loss_of(method, batch), method.net(batch.views[0], "pool")
    assert half.dtype == torch.float32 and half.item() == pytest.approx(full.item(), rel=0.05)
    assert not torch.equal(seen, seen_by_half)  # one loss may come out the same by chance, many features don't


@every_kind
def test_logs_are_detached(name: str) -> None:
    logs = built(name)(toy_batch(name), AT).logs
    assert not any(value.requires_grad for value in logs.values())


# gradients


@every_kind
def test_the_gradient_reaches_the_encoders_first_layer(name: str) -> None:
    method = built(name)
    method(toy_batch(name), AT).loss.backward()
    first = next(iter(method.net.encoder.parameters()))
    assert first.grad is not None and first.grad.norm() > 1e-6


@every_kind
@pytest.mark.parametrize("kind", [0, 1, None])
def test_every_trainable_tensor_gets_a_gradient_on_every_batch(name: str, kind: int | None) -> None:
    """Also where a batch holds images of one label, or one cluster, only."""
    index = np.arange(BATCH) if kind is None else np.arange(kind, N, 3)[:BATCH]
    method = built(name)
    method(toy_batch(name, index), AT).loss.backward()
    assert [key for key, p in trainable(method).items() if p.grad is None] == []
    assert all(torch.isfinite(p.grad).all() for p in trainable(method).values() if p.grad is not None)


# state


@every_kind
def test_forward_writes_no_state_but_the_statistics_of_batch_norm(name: str) -> None:
    method = built(name)
    before = state(method)
    method(toy_batch(name), AT).loss.backward()
    assert {key for key in moved(before, method) if not is_statistic(key)} == set()


@every_kind
def test_the_state_dict_is_all_it_remembers(name: str, tmp_path: Path) -> None:
    trained(name, tmp_path, 3)
    one, other = built(name, seed=7), built(name, seed=8)
    for method in (one, other):
        optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad])
        assert checkpoints.load(tmp_path / "checkpoints", method, optimizer) == 3
    assert loss_of(one, toy_batch(name)).item() == loss_of(other, toy_batch(name)).item()


@every_kind
def test_after_step_moves_nothing_that_the_optimizer_moves(name: str) -> None:
    method = built(name)
    update = method(toy_batch(name), AT).update
    before = state(method)
    method.after_step(update, AT)
    assert moved(before, method) & set(trainable(method)) == set()


@every_kind
def test_an_epoch_may_begin_with_a_look_at_the_whole_collection(name: str) -> None:
    method, places = built(name), []

    def look(place: Any) -> Tensor:
        places.append(place)
        return encode(method.net, SIGHT, toy_pixels(), Machine(), layer=place)

    method.before_epoch(look, Step(0, 10, 0))
    assert set(places) <= {"pool", "hidden", "projection"}
    assert torch.isfinite(method(toy_batch(name), AT).loss)


@every_kind
def test_modes_change_the_method_and_never_its_teachers(name: str) -> None:
    method = built(name)
    teachers = list(getattr(method, "teachers", ()))
    assert bool(teachers) == ("teachers" in inspect.signature(type(method)).parameters)
    method.train(True)
    assert method.net.training and not any(part.training for teacher in teachers for part in teacher.modules())
    own = {id(p) for p in [*method.parameters(), *method.buffers()]}
    theirs = [*(p for t in teachers for p in t.parameters()), *(b for t in teachers for b in t.buffers())]
    assert not any(id(tensor) in own for tensor in theirs)
    assert not any(p.requires_grad for teacher in teachers for p in teacher.parameters())
    assert not any("teacher" in key for key in method.state_dict())


@every_kind
def test_a_step_leaves_teachers_as_they_are(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teachers = toy_teachers()
    before = [state(teacher) for teacher in teachers]
    monkeypatch.setitem(GIVEN, "teachers", lambda: teachers)
    trained(name, tmp_path, 2)
    assert all(moved(was, teacher) == set() for was, teacher in zip(before, teachers))


# killed and resumed


@every_kind
def test_killed_and_resumed_it_ends_bit_identical(name: str, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    lines = trained(name, whole, 12)
    for death in (3, 7, 8):
        trained(name, broken, 12, die_at=death, save_every=0)
    after = trained(name, broken, 12, save_every=0)
    first, second = (
        read_json(folder / "checkpoints" / "step-00000012" / "MANIFEST.json") for folder in (whole, broken)
    )
    assert set(first["sha256"]) == {"model.safetensors", "optimizer.safetensors"} and first == second
    assert [(a["step"], a["epoch"], a["loss"], a["lr"]) for a in lines] == [
        (b["step"], b["epoch"], b["loss"], b["lr"]) for b in after
    ]


# options


@every_method
def test_a_typo_in_an_option_is_answered_with_what_was_meant(name: str) -> None:
    options = registry.options_of(registry.method_named(name))
    assert options
    for option in options:
        with pytest.raises(UsageError, match=f"option of {name} '{option}x'; did you mean '{option}'"):
            registry.checked_options(name, {option + "x": 1})


@every_method
def test_options_left_out_have_their_defaults(name: str) -> None:
    options = registry.options_of(registry.method_named(name))
    assert registry.checked_options(name, {}) == options
    changed, before = next(iter(options.items()))
    now = 0.123 if isinstance(before, float) else before + 1
    assert registry.checked_options(name, {changed: now}) == {**options, changed: now}
    json.dumps(options)


@pytest.mark.parametrize("option", ["queue=0", "momentum=2", "temperature=0", "hidden=1.5", "dim=many"])
def test_an_option_that_is_out_of_bounds_is_refused_by_name(option: str) -> None:
    with pytest.raises(UsageError, match=rf"{option}: "):
        registry.checked_options("moco", parse_options([option]))


@every_method
def test_a_method_says_what_it_is_in_a_line(name: str) -> None:
    about = registry.method_named(name).about
    assert 10 < len(about) < 100 and "\n" not in about
    module = inspect.getmodule(registry.method_named(name))
    assert module is not None and "https://arxiv.org/abs/" in (module.__doc__ or "")


def test_a_method_that_is_not_there_is_answered_with_its_neighbor() -> None:
    with pytest.raises(UsageError, match="unknown method 'moclar'; did you mean 'moclr'"):
        registry.method_named("moclar")


@every_kind
def test_a_method_starts_from_a_trained_net(name: str) -> None:
    alone = BESIDE.get(name, "moclr" if name == POOLS else name.partition(" of ")[0])
    method, other = built(name, seed=1), built(alone, seed=2)
    assert moved(state(method.net.encoder), other.net.encoder) != set()
    method.start_from(other.net)
    assert moved(state(method.net.encoder), other.net.encoder) == set()
    assert method.net.projector is None or moved(state(method.net), other.net) == set()
    copies = [part for part in method.modules() if isinstance(part, Momentum)]
    assert all(moved(state(copy.net), other.net) == set() for copy in copies)


# single methods


def test_moclrs_target_follows_the_net_by_the_momentum_of_the_step() -> None:
    method = built("moclr", momentum=0.9)
    assert isinstance(method.target, Momentum)
    with torch.no_grad():
        for p in method.net.parameters():
            p.add_(torch.ones_like(p))
    before, at = [p.clone() for p in method.target.parameters()], Step(5, 20, 0)
    method.after_step((), at)
    momentum = momentum_at(0.9, 5, 20)
    for old, new, p in zip(before, method.target.parameters(), method.net.parameters()):
        torch.testing.assert_close(new, momentum * old + (1 - momentum) * p.detach())


def test_a_head_whose_cluster_is_absent_has_a_gradient_of_zero_and_the_others_more() -> None:
    method = built("distill")
    assert isinstance(method.heads, nn.ModuleList)
    method(toy_batch("distill", np.arange(0, N, 3)[:BATCH]), AT).loss.backward()
    sizes = [sum(float(p.grad.abs().sum()) for p in head.parameters() if p.grad is not None) for head in method.heads]
    assert sizes[0] > 0 and sizes[1] > 0 and sizes[2:] == [0, 0]


def test_classify_shows_each_image_once_and_the_others_twice() -> None:
    one, other = View(SIZE), View(SIZE, flip=0.0)
    views = {name: built(name).views((one, other)) for name in ("classify", "moclr", "simclr", "distill")}
    assert views.pop("classify") == (one,) and set(views.values()) == {(one, other)}


BESIDE_MOCLR = "distill of pools beside moclr"


def test_a_student_and_its_own_method_save_and_move_each_tensor_once() -> None:
    method = built(BESIDE_MOCLR)
    tensors = [value.data_ptr() for value in method.state_dict().values() if value.numel()]
    assert len(tensors) == len(set(tensors))
    moving = [p for group in make_optimizer("adamw", method, 1e-4).param_groups for p in group["params"]]
    alone, heads = built("moclr"), built("distill of pools").get_submodule("heads")
    assert len(moving) == len({id(p) for p in moving}) == len(trainable(alone)) + len(trainable(heads))
    assert {id(p) for p in method.net.parameters()} <= {id(p) for p in moving}


@pytest.mark.parametrize(("name", "calls"), [(BESIDE_MOCLR, 2), ("distill of projections beside moco", 2)])
def test_a_student_runs_its_encoder_once_for_a_view_and_loses_nothing_by_it(name: str, calls: int) -> None:
    method, batch, count = built(name), toy_batch(name), []
    hook = method.net.encoder.register_forward_hook(lambda *_: count.append(1))
    outcome = method(batch, AT)
    hook.remove()
    assert len(count) == calls and not method.net.encoder._forward_hooks.values()
    gradients = torch.autograd.grad(outcome.loss, method.net.encoder.parameters())  # type: ignore[no-untyped-call]
    own = method.get_submodule("own")(batch, AT).loss
    taught = Distill._taught(method, batch, [])  # type: ignore[arg-type]
    slow = taught.loss + 0.5 * own
    torch.testing.assert_close(outcome.loss, slow)
    for fast, again in zip(gradients, torch.autograd.grad(slow, method.net.encoder.parameters()), strict=True):
        torch.testing.assert_close(fast, again, rtol=1e-3, atol=1e-5)


def test_a_student_passes_each_call_of_the_loop_on_to_its_own_method() -> None:
    method, heard = built(BESIDE_MOCLR), []
    own = method.get_submodule("own")
    assert isinstance(own, Method)
    for name in ("before_epoch", "resampled_indices", "reset_parameters", "after_step"):
        setattr(own, name, lambda *given, name=name: heard.append((name, given)) or [])
    method.before_epoch(lambda layer: torch.zeros(N, 1), AT)
    method.after_step((), AT)
    assert method.resampled_indices() == method.reset_parameters() == []
    assert [name for name, _ in heard] == ["before_epoch", "after_step", "resampled_indices", "reset_parameters"]
    assert heard[0][1][1] == AT and heard[1][1] == ((), AT)


def test_a_student_without_a_loss_of_its_own_has_the_state_the_weights_and_the_outcome_of_before() -> None:
    method = built(POOLS, seed=3)
    assert {name.partition(".")[0] for name in method.state_dict()} == {"net", "heads", "expert_of"}
    torch.manual_seed(3)
    encoder = over_all_ranks(build(EncoderSpec("slim10_w8"), SIZE))
    heads = nn.ModuleList(nn.Linear(64, 64) for _ in range(4))
    assert moved(state(encoder), method.net.encoder) == moved(state(heads), method.get_submodule("heads")) == set()
    outcome = method(toy_batch(POOLS), AT)
    assert outcome.logs.keys() == {"base", "expert"} and outcome.update == () and outcome.features is None
    assert method.views(PAIR) == PAIR and method.resampled_indices() is None and method.reset_parameters() == []
