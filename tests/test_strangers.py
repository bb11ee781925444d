"""Models, runs and options that come from somebody else: refused in words, and nothing of them is carried out."""

import functools
import json
import os
import pickle
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_cli import told
from test_methods import trained
from test_pipeline import command, finished, typed

import divcon
from divcon.clustering.clusters import Clusters
from divcon.data.index.index import Index
from divcon.data.index.near_duplicates import THUMBNAIL_BYTES
from divcon.data.index.scan_cache import ScanCache
from divcon.data.index.table import Found
from divcon.data.index.validate import Verdict
from divcon.data.sources.source import Entry
from divcon.errors import DamagedError, Error, OwnedError, UsageError
from divcon.files.integrity import append_digest, mismatches, read_json, sha256, write_json
from divcon.nets.encoder import EncoderSpec, build
from divcon.runs.metrics_file import read_lines

Change = Callable[[Path], None]


class Payload:
    """A pickle that makes a folder when it is read."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def model(photos: Path, tmp_path: Path) -> Path:
    """A trained stage by itself, as one would send it."""
    return shutil.copytree(finished(photos) / "student", tmp_path / "model")


def about(**changes: Any) -> Change:
    """encoder.json, changed and sealed again."""

    def change(model: Path) -> None:
        write_json(model / "encoder.json", {**read_json(model / "encoder.json"), **changes})

    return change


def part(name: str, /, **changes: Any) -> Change:
    """A field of encoder.json with other values."""

    def change(model: Path) -> None:
        about(**{name: {**read_json(model / "encoder.json")[name], **changes}})(model)

    return change


encoder = functools.partial(part, "encoder")


def weights(data: bytes) -> Change:
    """Other weights, with the hash that fits them."""

    def change(model: Path) -> None:
        (model / "encoder.safetensors").write_bytes(data)
        about(sha256=sha256(model / "encoder.safetensors"))(model)

    return change


def header(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


def without(field: str) -> Change:
    def change(model: Path) -> None:
        record = read_json(model / "encoder.json")
        del record[field]
        write_json(model / "encoder.json", record)

    return change


def reshaped(model: Path) -> None:
    tensors = load_file(model / "encoder.safetensors")
    name = sorted(tensors)[0]
    weights_of(model, {**tensors, name: torch.zeros(3, 3)})


def weights_of(model: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, model / "encoder.safetensors")
    about(sha256=sha256(model / "encoder.safetensors"))(model)


OVERLAP = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
HOSTILE: dict[str, Change] = {
    "no JSON": lambda model: (model / "encoder.json").write_text("{" * 100_000) and None,
    "a list": lambda model: write_json(model / "encoder.json", [1, 2]),
    **{f"no {field}": without(field) for field in ("encoder", "projector", "input_spec", "preprocess", "sha256")},
    "a size that fills the memory": part("input_spec", size=10**9),
    "a size that is none": part("input_spec", size="large"),
    "no spread of colors": part("input_spec", std=[0, 1, 1]),
    "a hidden layer that fills the memory": about(projector={"hidden": 10**12, "dim": 10**12}),
    "a hidden layer as large as is allowed": about(projector={"hidden": 65_536, "dim": 65_536}),
    "a network of another kind": encoder(name="resnet18"),
    "a network that is none": encoder(name="../../evil"),
    "a network from a hub": encoder(name="hf-hub:evil/model"),
    "weights from a pickle": encoder(name="resnet10t", options={"checkpoint_path": "evil.pth"}),
    "weights from a URL": encoder(name="resnet10t", options={"pretrained_cfg": {"url": "http://localhost/evil"}}),
    "a cache of its own": encoder(name="resnet10t", options={"cache_dir": "/"}),
    "options that no model takes": encoder(name="resnet10t", options={"block": "evil", "layers": "evil"}),
    "an unknown field": encoder(evil=1),
    "an empty file of weights": weights(b""),
    "a pickle for weights": weights(pickle.dumps({"a": 1})),
    "a header longer than the file": weights(header(b"{}", 2**40)),
    "a header that is no JSON": weights(header(b"[[[[")),
    "tensors that overlap": weights(header(OVERLAP) + bytes(4)),
    "tensors of other shapes": reshaped,
    "no tensors": lambda model: weights_of(model, {}),
    "one tensor more": lambda model: weights_of(
        model, {**load_file(model / "encoder.safetensors"), "\x1b[31mevil": torch.zeros(1)}
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_model_is_refused_in_words(
    photos: Path, model: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    HOSTILE[name](model)
    code, line = told(["eval", str(model), str(photos)], capsys)
    assert code in (64, 65), (code, line)
    assert line.startswith("divcon: ") and "\x1b" not in line


def test_a_network_that_would_fill_the_memory_is_refused_before_it_is_built(model: Path) -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    about(projector={"hidden": 65_536, "dim": 65_536})(model)
    with pytest.raises(DamagedError, match=r"does not fit encoder\.json"):
        divcon.load(model)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


PICKLES = ["encoder.safetensors", "encoder.json", "stage.json", "metrics.jsonl"]


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_in_a_models_place_is_not_carried_out(photos: Path, model: Path, tmp_path: Path, name: str) -> None:
    data = pickle.dumps(Payload(tmp_path / "carried-out"))
    (model / name).write_bytes(data)
    if name == "encoder.safetensors":
        weights(data)(model)
    if name in ("encoder.safetensors", "encoder.json"):
        with pytest.raises(DamagedError):
            divcon.load(model)
    divcon.load(model) if name not in ("encoder.safetensors", "encoder.json") else None
    assert not (tmp_path / "carried-out").exists()


@pytest.mark.parametrize("kind", ["pth", "pt", "pkl"])
def test_a_pickle_of_weights_is_not_taken_to_begin_with(tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"model.{kind}"
    torch.save({"a": Payload(tmp_path / "carried-out")}, file)
    torch.manual_seed(0)
    with pytest.raises(Error, match="give a safetensors file"):
        build(EncoderSpec("slim10_w8", init=str(file)), 16)
    assert not (tmp_path / "carried-out").exists()


@pytest.fixture
def run(photos: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished(photos), tmp_path / "run")


def record(**changes: Any) -> Change:
    def change(run: Path) -> None:
        write_json(run / "run.json", {**read_json(run / "run.json"), **changes})

    return change


def stage_record(stage: str, **changes: Any) -> Change:
    def change(run: Path) -> None:
        write_json(run / stage / "stage.json", {**read_json(run / stage / "stage.json"), **changes})

    return change


HOSTILE_RUNS: dict[str, Change] = {
    "a list for a book": lambda run: write_json(run / "run.json", [1]),
    "stages that lead out": record(stages=["base", "../outside"]),
    "a final stage that leads out": record(final="../outside"),
    "an absolute stage": record(stages=["/etc"]),
    "stages with control characters": record(stages=["base", "\x1b[31mevil"]),
    "no stages": record(stages=[]),
    "more stages than there can be": record(groups={"experts": 10**15}),
    "stages that are numbers": record(stages=[1, 2]),
    "a count that is none": record(used="many"),
    "nothing typed": record(typed=None),
}


@pytest.mark.parametrize("verb", ["status", "redo", "eval"])
@pytest.mark.parametrize("name", HOSTILE_RUNS)
def test_a_hostile_run_is_refused_and_nothing_outside_it_is_touched(
    photos: Path, run: Path, tmp_path: Path, verb: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/stage.json").write_text("{}")
    HOSTILE_RUNS[name](run)
    code, line = told([verb, str(run), *{"redo": ["base"], "eval": [str(photos)]}.get(verb, [])], capsys)
    assert code == 65 and "\x1b" not in line, (code, line)
    assert (tmp_path / "outside/stage.json").exists()


@pytest.mark.parametrize(
    "change",
    [
        stage_record("clusters", summary={"images_seen": -1}), stage_record("clusters", summary={"images_seen": "many"}), stage_record("clusters", summary=[]),
        stage_record("base", seconds="long"), stage_record("base", summary={"images_per_second": "fast"}), stage_record("base", summary=None),
    ],
)  # fmt: skip
def test_hostile_notes_are_shown_as_damage(run: Path, change: Change, capsys: pytest.CaptureFixture[str]) -> None:
    change(run)
    assert typed(["status", str(run), "--json"]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert any(stage["state"] == "failed" and "is damaged" in stage["why"] for stage in stages.values())
    assert len(stages) < 20


def test_redo_follows_no_link_out_of_a_run(run: Path, tmp_path: Path) -> None:
    (run / "experts").rename(tmp_path / "precious")
    (run / "experts").symlink_to(tmp_path / "precious")
    with pytest.raises(OwnedError, match="leads out of the run, by a link"):
        divcon.redo(run, "base")
    assert (tmp_path / "precious/0/stage.json").exists() and (run / "base/stage.json").exists()


def test_a_run_writes_through_no_link_out_of_it(photos: Path, run: Path, tmp_path: Path) -> None:
    shutil.rmtree(run / "student")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/thesis.tex").write_text("precious")
    (run / "student").symlink_to(tmp_path / "precious")
    assert typed(command(photos, run)) == 73
    assert [path.name for path in (tmp_path / "precious").iterdir()] == ["thesis.tex"]


def test_a_recipe_of_a_run_is_checked_like_what_is_typed(
    photos: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for typed_there in ({"cache": "/"}, {"evil": 1}, {"base.evil": 1}, {"epochs": [[]]}, {"encoder": "hf-hub:evil"}):
        record(typed=typed_there)(run)
        code, line = told(["run", str(photos), f"out={tmp_path / 'new'}", f"recipe={run}"], capsys)
        assert code == 64, (typed_there, line)
    assert not (tmp_path / "new").exists()


def pickled(array: Path) -> None:
    np.save(array, np.array([Payload(array.parent / "carried-out")], dtype=object), allow_pickle=True)


@pytest.mark.parametrize("name", ["centroids.npy", "sample.npy", "sample_positions.npy", "clusters.parquet"])
def test_hostile_clusters_are_not_carried_out(run: Path, name: str) -> None:
    pickled(run / "clusters" / "evil.npy")
    (run / "clusters" / "evil.npy").replace(run / "clusters" / name)
    with pytest.raises(DamagedError, match="holds no clusters that can be read"):
        Clusters.load(run / "clusters")
    assert not (run / "clusters/carried-out").exists()


def test_clusters_whose_labels_have_no_centroid_are_refused(run: Path) -> None:
    np.save(run / "clusters/centroids.npy", np.ones((1, 32), np.float32))
    with pytest.raises(DamagedError, match="labels up to 1 of centroids"):
        Clusters.load(run / "clusters")


@pytest.mark.parametrize(
    "option", ["pretrained", "checkpoint_path", "pretrained_cfg", "cache_dir", "pretrained_cfg_overlay"]
)
def test_an_encoders_options_fetch_and_read_nothing(option: str) -> None:
    with pytest.raises(UsageError, match=f"{option} can't be set"):
        build(EncoderSpec("resnet10t", options={option: "x"}), 32)


def reaching_out(data: bytes, length: int) -> bytes:
    """An Arrow file whose one text of this length reaches far behind its end (it was found by fuzzing; `make fuzz`)."""
    at = data.rindex(struct.pack("<ii", 0, length))
    return data[:at] + struct.pack("<ii", 0, 2**30) + data[at + 8 :]


def test_a_cache_whose_texts_reach_out_of_it_is_made_anew(tmp_path: Path) -> None:
    name = b"n" * 1234
    kept = ScanCache(tmp_path / "memory.arrow")
    kept.add(Entry(name), Verdict(1, 2, 3, 9, 9, "00" * 32))
    kept.save()
    assert [*ScanCache.load(kept.file).paths()] == [name]
    kept.file.write_bytes(reaching_out(kept.file.read_bytes()[:-32], len(name)))
    append_digest(kept.file)
    assert [*ScanCache.load(kept.file).paths()] == []


def arrow(index: Path) -> bytes:
    return (index / "index.arrow").read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        lambda index: b"",
        lambda index: b"ARROW1",
        lambda index: arrow(index)[: len(arrow(index)) // 2],
        lambda index: reaching_out(arrow(index), 1234),
        lambda index: arrow(index).replace(b"path_bytes", b"pfad_bytes"),
        lambda index: arrow(index).replace(b"used", b"lost"),
    ],
)  # fmt: skip
def test_an_index_that_is_none_is_refused_though_its_hash_is_right(
    tmp_path: Path, change: Callable[[Path], bytes]
) -> None:
    Index.of([Found(b"n" * 1234, 9, 9, 10, b"h" * 32, thumbnail=bytes(THUMBNAIL_BYTES))]).save(tmp_path)
    assert Index.load(tmp_path).used == 1
    (tmp_path / "index.arrow").write_bytes(change(tmp_path))
    hashes = {**read_json(tmp_path / "MANIFEST.json")["sha256"], "index.arrow": sha256(tmp_path / "index.arrow")}
    write_json(tmp_path / "MANIFEST.json", {"sha256": hashes})
    with pytest.raises(DamagedError, match=r"index.arrow can't be read .* Make it again: divcon index DATA out="):
        Index.load(tmp_path)


@pytest.mark.parametrize("shape", ["(2, 2), } ~ hape': (2,", "(((((((((", "{", "'\\x00"])
def test_an_array_whose_header_is_no_python_is_refused(run: Path, shape: str) -> None:
    data = (run / "clusters/centroids.npy").read_bytes()
    begin = data.index(b"'shape': ") + len(b"'shape': ")
    (run / "clusters/centroids.npy").write_bytes(data[:begin] + shape.encode() + data[begin + len(shape) :])
    with pytest.raises(DamagedError, match="holds no clusters that can be read"):
        Clusters.load(run / "clusters")


@pytest.mark.parametrize(
    "line",
    ['{"step": "many"}', "{}", '{"step": -1, "spread": "wide", "steps": 9}', '{"step": -1, "spread": 0.1, "steps": 0}',
     f'{{"step": -1, "deep": {"[" * 100_000}{"]" * 100_000}}}'],
    ids=lambda line: line[:40],
)  # fmt: skip
def test_a_hostile_line_of_a_journal_ends_no_training(tmp_path: Path, line: str) -> None:
    checked = f"{line[:-1]}, " if len(line) > 2 else '{"a": 1, '
    text = f"{checked[:-2]}}}"
    (tmp_path / "metrics.jsonl").write_text(f'{checked}"crc": {zlib.crc32(text.encode())}}}\n')
    trained("simclr", tmp_path, 3)
    assert [found["step"] for found in read_lines(tmp_path / "metrics.jsonl")][-3:] == [0, 1, 2]


@pytest.mark.parametrize("name", ["n" * 5000, "../" * 40 + "etc/hostname", "/etc/hostname", "a\0b", "", "."])
def test_a_manifest_that_names_what_is_not_in_its_folder_finds_no_file_there(tmp_path: Path, name: str) -> None:
    write_json(tmp_path / "MANIFEST.json", {"sha256": {name: "0" * 64}})
    (line,) = mismatches(tmp_path / "MANIFEST.json")
    assert "expected sha256 000000000000, found no file" in line
