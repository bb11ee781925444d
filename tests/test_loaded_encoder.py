"""A loaded encoder in other programs: it embeds whatever holds a picture, and is a module like any other."""

import copy
import io
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import divcon
from divcon import machine
from divcon.errors import InputError, UsageError
from divcon.machine import Machine
from divcon.nets.encoder import EncoderSpec, build
from divcon.nets.net import Net
from divcon.nets.trained import InputSpec, Trained
from divcon.train.loaded_encoder import Encoder, Preprocess

SIZE = 32


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a finished stage; the statistics of its batch norms are of some noise."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(5)
    net = Net(build(EncoderSpec("slim10_w8"), SIZE))
    net(torch.randn(64, 3, SIZE, SIZE))
    Trained(EncoderSpec("slim10_w8"), InputSpec(SIZE), net.eval()).save(folder)
    return folder


@pytest.fixture
def encoder(model: Path) -> Encoder:
    return divcon.load(model)


@pytest.fixture(scope="module")
def pile(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files without loss, of several sizes."""
    folder, rng = tmp_path_factory.mktemp("pile"), np.random.default_rng(0)
    paths = [folder / f"{i}.png" for i in range(7)]
    for i, path in enumerate(paths):
        coarse = rng.integers(0, 255, (6, 5, 3), np.uint8)
        Image.fromarray(coarse).resize((40 + 3 * i, 50), Image.Resampling.BICUBIC).save(path)
    return paths


def array(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def tensor(path: Path) -> Tensor:
    return torch.from_numpy(array(path).copy()).permute(2, 0, 1)


KINDS: dict[str, Callable[[Path], Any]] = {
    "a path": lambda path: path,
    "text": str,
    "bytes": Path.read_bytes,
    "a view of bytes": lambda path: memoryview(path.read_bytes()),
    "an image of Pillow": Image.open,
    "an array": array,
    "a tensor of uint8": tensor,
    "a tensor of 0..1": lambda path: tensor(path).float() / 255,
    "a tensor of half precision": lambda path: (tensor(path).double() / 255).half(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_picture_has_the_features_of_its_file(encoder: Encoder, pile: list[Path], kind: str) -> None:
    expected = encoder.embed(pile)
    found = encoder.embed([KINDS[kind](path) for path in pile])
    tolerance = 0.02 if kind == "a tensor of half precision" else 0.0  # it can't tell all 256 steps from each other
    assert found.shape == (7, encoder.num_features) and torch.allclose(found, expected, atol=tolerance)
    assert not torch.allclose(found[0], found[1], atol=0.05)
    assert torch.allclose(encoder.embed(KINDS[kind](pile[0])), expected[:1], atol=1e-5 + tolerance)


def test_the_features_are_those_of_the_embed_verb(
    encoder: Encoder, model: Path, pile: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for precision, tolerance, cosine in (("fp32", 1e-4, 0.99999), ("bf16", 0.05, 0.995)):
        monkeypatch.setattr(machine, "choose", lambda *_, p=precision, **__: Machine(precision=p))
        divcon.embed(model, pile[0].parent, out=tmp_path / "rows.parquet")
        table = pq.read_table(tmp_path / "rows.parquet")
        rows = torch.from_numpy(np.stack(table["embedding"].to_numpy()))
        ours = encoder.embed(pile[0].parent / name for name in table["path"].to_pylist())
        assert len(rows) == 7 and (ours - rows).abs().max() < tolerance * rows.abs().max()
        assert F.cosine_similarity(ours, rows, dim=1).min() > cosine


def test_batches_generators_and_lists_of_lists_are_taken_picture_by_picture(encoder: Encoder, pile: list[Path]) -> None:
    same = [pile[0]] * 2
    expected = encoder.embed(same)
    for images in (
        np.stack([array(path) for path in same]),
        torch.stack([tensor(path) for path in same]),
        (path for path in same),
        [[pile[0]], [array(pile[0])]],
        (torch.stack([tensor(path)]) for path in same),
    ):
        assert torch.equal(encoder.embed(images), expected)
    assert encoder.embed([]).shape == (0, encoder.num_features)


def test_a_generator_is_read_a_batch_at_a_time(encoder: Encoder, pile: list[Path]) -> None:
    read = 0

    def endless() -> Iterator[Path]:
        nonlocal read
        while True:
            read += 1
            if read > 30:
                raise RuntimeError("the end of the test")
            yield pile[read % 7]

    shown = list[int]()
    encoder.encoder.register_forward_hook(lambda module, images, out: shown.append(len(images[0])))
    with pytest.raises(RuntimeError, match="the end of the test"):
        encoder.embed(endless(), batch_size=8)
    assert shown == [8, 8, 8]


def test_the_size_of_a_batch_and_the_number_of_threads_change_no_order(encoder: Encoder, pile: list[Path]) -> None:
    expected = encoder.embed(pile)
    for batch_size, workers in ((1, 1), (2, 4), (100, 2)):
        assert torch.allclose(encoder.embed(pile, batch_size=batch_size, workers=workers), expected, atol=1e-5)
    with pytest.raises(UsageError, match="batch_size=0"):
        encoder.embed(pile, batch_size=0)


def test_gray_pictures_and_pictures_with_transparency_are_taken(encoder: Encoder) -> None:
    rng = np.random.default_rng(1)
    gray, color = rng.integers(0, 255, (40, 40), np.uint8), rng.integers(0, 255, (40, 40, 4), np.uint8)
    assert torch.equal(encoder.embed(gray), encoder.embed(torch.from_numpy(gray)[None]))
    assert torch.equal(encoder.embed(color), encoder.embed(torch.from_numpy(color).permute(2, 0, 1)))


def test_a_folder_is_refused_with_what_to_type(encoder: Encoder, pile: list[Path]) -> None:
    with pytest.raises(UsageError, match=r"is a folder; .*divcon\.embed\(MODEL"):
        encoder.embed(pile[0].parent)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (torch.full((3, 8, 8), 1.5), r"a tensor of float32 \[3, 8, 8\] has values outside of 0..1.*encoder\(images\)"),
        (torch.full((3, 8, 8), float("nan")), "outside of 0..1"),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), r"not a tensor of uint8 \[8, 8, 3\]"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), r"not a tensor of int64"),
        (np.zeros((8, 8, 3)), "not an array of float64"),
        (7, "not an object of int"),
        ({"image": 7}, "not an object of dict"),
        ([{"image": 7}], "not an object of dict"),
        (np.zeros((0, 5, 3), np.uint8), r"an array of uint8 \[0, 5, 3\] is empty"),
        (torch.zeros(3, 0, 5), r"is empty"),
        (b"no picture", "can't be shown"),
    ],
)
def test_what_is_no_picture_is_refused_by_its_kind(encoder: Encoder, image: Any, says: str) -> None:
    with pytest.raises((UsageError, InputError), match=says):
        encoder.embed(image)


@pytest.mark.parametrize("as_kind", [str, Path.read_bytes, lambda path: path.open("rb"), Image.open])
def test_the_first_picture_that_is_refused_is_named_by_its_number(
    encoder: Encoder, pile: list[Path], tmp_path: Path, as_kind: Callable[[Path], Any]
) -> None:
    small = tmp_path / "small.png"
    Image.new("RGB", (3, 3)).save(small)
    named = "" if as_kind is Path.read_bytes else r".*small\.png"
    given = [as_kind(path) for path in [*pile[:3], small, small]]
    with pytest.raises(
        InputError, match=rf"^picture 3 \(the first one is 0\): {named}.*too_small.*; repair .* or leave it out"
    ):
        encoder.embed((image for image in given), batch_size=2, workers=2)
    with pytest.raises(UsageError, match=r"^picture 1 \(.*not an object of NoneType"):
        encoder.embed([pile[0], None])  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"^(an|/)"):
        encoder.embed(as_kind(small))


def test_an_open_file_is_a_picture_and_no_list_of_lines(encoder: Encoder, pile: list[Path]) -> None:
    with pile[0].open("rb") as file, pile[1].open("rb") as other:
        assert torch.equal(encoder.embed([file, other]), encoder.embed(pile[:2]))
    assert torch.equal(encoder.embed(io.BytesIO(pile[0].read_bytes())), encoder.embed(pile[0]))
    with pile[0].open(encoding="latin-1") as text, pytest.raises(UsageError, match=r"0\.png is open as text; .*'rb'"):
        encoder.embed(text)  # type: ignore[arg-type]


def test_a_picture_of_one_color_has_features(encoder: Encoder, pile: list[Path]) -> None:
    flat = Image.new("RGB", (40, 50), (9, 200, 30))
    assert encoder.embed([pile[0], flat, pile[1]]).isfinite().all()
    view = encoder.preprocess.view(flat)
    assert (view == (9, 200, 30)).all()


def test_an_address_is_refused_and_a_folder_of_that_name_is_not(
    encoder: Encoder, pile: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    address = "https://example.com/a.png"
    with pytest.raises(UsageError, match=r"example\.com/a\.png is an address, and addresses are not read"):
        encoder.embed([address])
    Path("https:/example.com").mkdir(parents=True)
    Path(address).write_bytes(pile[0].read_bytes())
    assert torch.equal(encoder.embed(address), encoder.embed(pile[0]))


@pytest.mark.parametrize("device", ["foo", torch.device("xla"), "cuda:99"])
def test_a_device_that_is_not_there_is_refused_before_the_encoder_moves(
    encoder: Encoder, pile: list[Path], device: str | torch.device
) -> None:
    with pytest.raises(UsageError, match=rf"^device={device} can't be used here: .*; leave device out"):
        encoder.embed(pile[0], device=device)
    assert next(encoder.parameters()).device.type == "cpu"


@pytest.mark.parametrize("model", [123, None, ["runs/a"]])
def test_a_model_that_is_no_path_is_refused_in_words(model: Any) -> None:
    with pytest.raises(UsageError, match=r"a model is the folder of a run or stage.*not an object of"):
        divcon.load(model)


def test_embedding_leaves_the_mode_of_each_part_and_no_gradient(encoder: Encoder, pile: list[Path]) -> None:
    expected = encoder.embed(pile)
    encoder.train()
    first, second, *_ = [part for part in encoder.modules() if isinstance(part, nn.BatchNorm2d)]
    first.eval()  # a frozen batch norm, as for fine-tuning
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    features = encoder.embed(pile)
    assert torch.equal(features, expected) and not features.requires_grad
    assert encoder.training and second.training and not first.training
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    with pytest.raises(InputError):
        encoder.embed([b"no picture"])
    assert encoder.training


class Files(Dataset[Tensor]):
    def __init__(self, paths: list[Path], preprocess: Preprocess):
        self.paths, self.preprocess = paths, preprocess

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Tensor:
        return self.preprocess(self.paths[i])


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_the_preprocessing_works_in_the_processes_of_a_data_loader(
    encoder: Encoder, pile: list[Path], start: str
) -> None:
    loader = DataLoader(Files(pile, encoder.preprocess), batch_size=3, num_workers=2, multiprocessing_context=start)
    with torch.no_grad():
        found = torch.cat([encoder(images) for images in loader])
    assert torch.allclose(found, encoder.embed(pile), atol=1e-5)


def test_copies_and_pickles_embed_as_the_encoder_does(encoder: Encoder, pile: list[Path]) -> None:
    expected, file = encoder.embed(pile), io.BytesIO()
    torch.save(encoder, file)
    file.seek(0)
    for copied in (
        copy.deepcopy(encoder),
        pickle.loads(pickle.dumps(encoder)),
        torch.load(file, weights_only=False),
    ):
        assert torch.equal(copied.embed(pile), expected)
    copied = copy.deepcopy(encoder)
    with torch.no_grad():
        copied.encoder.conv1.weight.zero_()
    assert torch.equal(encoder.embed(pile), expected) and not torch.equal(copied.embed(pile), expected)


@pytest.mark.parametrize("strict", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_exported_program_has_the_features_of_the_encoder_for_any_batch(encoder: Encoder, strict: bool) -> None:
    batch = torch.export.Dim("batch", min=1, max=64)
    x = torch.randn(4, 3, SIZE, SIZE)
    program = torch.export.export(encoder, (x,), dynamic_shapes=({0: batch},), strict=strict)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    for n in (2, 5):
        x = torch.randn(n, 3, SIZE, SIZE)
        assert torch.allclose(loaded(x), encoder(x), atol=1e-5)


@pytest.mark.parametrize("type_", [torch.float16, torch.bfloat16, torch.float64])
def test_an_encoder_of_another_type_embeds_nearly_the_same_in_float32(
    encoder: Encoder, pile: list[Path], type_: torch.dtype
) -> None:
    expected = encoder.embed(pile)
    found = encoder.to(type_).embed(pile)
    assert found.dtype == torch.float32 and next(encoder.parameters()).dtype == type_
    assert F.cosine_similarity(found, expected, dim=1).min() > 0.999


def test_a_device_is_where_the_encoder_goes(encoder: Encoder, pile: list[Path]) -> None:
    expected = encoder.embed(pile)
    assert torch.equal(encoder.embed(pile, device=torch.device("cpu")), expected)
    encoder.to("meta")
    with pytest.raises(NotImplementedError):  # proves that the network computes where it is: "meta" has no numbers
        encoder.embed(pile)


def test_an_encoder_is_fine_tuned_in_a_sequence_like_any_module(encoder: Encoder, pile: list[Path]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(encoder, nn.Linear(encoder.num_features, 2)).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    images = torch.stack([encoder.preprocess(path) for path in pile])
    labels = torch.arange(7) % 2
    before, losses = encoder.encoder.conv1.weight.detach().clone(), list[float]()
    for _ in range(10):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images), labels)
        loss.backward()
        assert all(weight.grad is not None for weight in network.parameters())
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] and not torch.equal(before, encoder.encoder.conv1.weight)


def test_the_default_type_of_the_program_changes_no_feature(encoder: Encoder, pile: list[Path]) -> None:
    expected, before = encoder.embed(pile), torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        found = encoder.embed(pile)
    finally:
        torch.set_default_dtype(before)
    assert found.dtype == torch.float32 and torch.equal(found, expected)
