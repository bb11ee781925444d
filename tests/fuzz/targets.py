"""The targets of fuzzing: for each kind of file that is parsed, seeds to begin with, and the errors that reading one may raise."""

import contextlib
import io
import json
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from divcon.api.status import status
from divcon.clustering.clusters import Clusters
from divcon.config import parse_options, validate_fields
from divcon.data.decoding.decode import decode_shrunk, fitted_size
from divcon.data.index import validate
from divcon.data.index.index import Index
from divcon.data.index.near_duplicates import THUMBNAIL_BYTES
from divcon.data.index.scan_cache import ScanCache
from divcon.data.index.table import Found
from divcon.data.sources.source import Entry
from divcon.data.sources.tar import BrokenTarError, members
from divcon.data.synthetic import make_collection
from divcon.errors import Error
from divcon.files import integrity
from divcon.files.integrity import read_json, seal, sha256, write_json
from divcon.nets.preprocessing import PREPROCESSING
from divcon.nets.trained import Trained
from divcon.recipes import Options
from divcon.runs import metrics_file, owner
from divcon.runs.records import RunRecord
from divcon.runs.verify import verify_run
from divcon.train import checkpoints
from tests.formats_made import PICTURES, tags

Read = Callable[[bytes], None]


class Target(NamedTuple):
    """A parser: files that it reads, and what is done with one."""

    seeds: list[bytes]
    read: Read


WORK = Path(tempfile.mkdtemp(prefix="divcon-fuzz-"))


def decoders() -> Target:
    """Any bytes are a picture, whole at any size, or are rejected for a reason in one word."""
    folder = make_collection(WORK / "pictures", 20, size=24)
    picture = Image.open(folder / "disc" / "00000.png").convert("RGB")
    seeds = [path.read_bytes() for path in sorted(folder.rglob("*.*"))[:6]]
    for kind, options in (("WEBP", {}), ("GIF", {}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}),
                          ("JPEG", {"progressive": True}), ("WEBP", {"lossless": True})):  # fmt: skip
        picture.save(WORK / "seed", kind, **options)
        seeds.append((WORK / "seed").read_bytes())
    picture.save(WORK / "seed", "GIF", save_all=True, append_images=[picture.rotate(90, expand=True)])
    seeds += [(WORK / "seed").read_bytes(), (PICTURES / "plain.heic").read_bytes(), *_deep(np.asarray(picture))]
    return Target(seeds, _decode)


def _deep(picture: np.ndarray) -> list[bytes]:
    """A picture with alpha as AVIF and BMP, and in 16 bits as PPM, and as TIFF in one layer and in planes."""
    height, width = picture.shape[:2]
    deep, seeds = picture.astype("<u2") * 16, list[bytes]()
    for kind in ("AVIF", "PNG"):
        Image.fromarray(np.dstack([picture, picture[:, :, 0]])).save(WORK / "seed", kind)
        seeds.append((WORK / "seed").read_bytes())
    seeds.append(b"P6 %d %d 65535\n" % (width, height) + deep.astype(">u2").tobytes())
    seeds.append(b"P2 %d %d 255 " % (width, height) + b" ".join(b"%d" % value for value in picture[:, :, 0].ravel()))
    common = {256: [width], 257: [height], 259: [1], 278: [height]}
    gray = {**common, 258: [16], 262: [0], 277: [1], 281: [4095]}
    planes = {**common, 258: [16] * 3, 262: [2], 277: [3], 284: [2]}
    return [*seeds, tags(gray, [deep[:, :, 0].tobytes()]), tags(planes, [deep[:, :, i].tobytes() for i in range(3)])]


def _decode(data: bytes) -> None:
    verdict = validate.check_bytes(data, b"photo.jpg", validate.Verdict())
    if verdict.reason:
        assert verdict.reason.replace("_", "").isalpha() and not verdict.thumbnail
        return
    assert min(verdict.width, verdict.height) >= 8 and verdict.thumbnail
    assert decode_shrunk(data, 16).shape == (*fitted_size(verdict.width, verdict.height, 16)[::-1], 3)


def shards() -> Target:
    """Any bytes are a tar, as far as they are one: every member behind the one before, within the file or rejected."""
    seeds = []
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=form) as tar:
            for name in ("a.png", "d/" + "n" * 90 + ".png", "n" * (99 if form == tarfile.USTAR_FORMAT else 130)):
                tar.addfile(tarfile.TarInfo(name))
        seeds.append(out.getvalue()[:4096])
    return Target(seeds, _shards)


def _shards(data: bytes) -> None:
    """With every checksum made right, so that what lies behind it is reached."""
    right, after = bytearray(data), 0
    for at in range(0, len(right) - 511, 512):
        right[at + 148 : at + 156] = b" " * 8
        right[at + 148 : at + 156] = b"%06o\0 " % sum(right[at : at + 512])
    with contextlib.suppress(BrokenTarError):
        for member in members(io.BytesIO(right), len(right)):
            assert member.offset > after and (member.reason or member.offset + member.size <= len(right))
            after = member.offset


def options() -> Target:
    """Options as they are typed, a word a line."""
    lines = "epochs=60\nclusters.k=5\nmean=[0.5, 0.5, 0.5]\ninclude=*.jpg\nnear_duplicates=drop\nseed=1e400\nbase=null"
    return Target([lines.encode(), b"epochs=NaN", b'include=["a", "b"]'], _options)


def _options(data: bytes) -> None:
    validate_fields(Options, parse_options(data.decode("utf-8", "replace").split("\n")))


def run_json() -> Target:
    record = RunRecord(
        {"epochs": 2}, {"epochs": 2.0}, {"workers": 1}, "0" * 16, 160, ["base", "experts/0", "student"], "student"
    )
    record.write(WORK / "run")
    write_json(WORK / "run/clusters/stage.json", {"key": {}, "seconds": 1.0, "summary": {}, "sha256": {}})
    return Target([_bare(WORK / "run/run.json")], _run_json)


def _run_json(data: bytes) -> None:
    (WORK / "run/run.json").write_bytes(_sealed(data))
    RunRecord.read(WORK / "run").expected_stages()


def stage_json() -> Target:
    run_json()
    done = {
        "key": {"do": "pretrain"},
        "seconds": 1.5,
        "summary": {"images_per_second": 9.5},
        "sha256": {"a": "b"},
    }
    state = {"state": "running", "why": "", "key": {}, "seconds": 1.0, "host": "a", "pid": 1, "started": "2"}
    return Target([json.dumps(record, indent=1).encode() for record in (done, state)], _stage_json)


def _stage_json(data: bytes) -> None:
    for stage, name in (("clusters", "stage.json"), ("base", "stage.json"), ("student", "state.json")):
        (WORK / "run" / stage).mkdir(exist_ok=True)
        (WORK / "run" / stage / name).write_bytes(_sealed(data))
    status(WORK / "run")
    verify_run(WORK / "run")


def metrics() -> Target:
    line = {"step": 3, "steps": 9, "batch_size": 16, "images_per_second": 10.5, "loss": 1.0}
    (WORK / "run/base").mkdir(parents=True, exist_ok=True)
    return Target([f"{metrics_file._checked(line)}\n".encode() * 2], _metrics)


def _metrics(data: bytes) -> None:
    """As they are, and each behind the right checksum."""
    texts = [line.partition(b', "crc"')[0] for line in data.split(b"\n")]
    right = (b'%b, "crc": %d}' % (text, zlib.crc32(text + b"}")) for text in texts)
    for content in (data, b"\n".join([*right, b""])):
        (WORK / "run/base/metrics.jsonl").write_bytes(content)
        found = metrics_file.read_lines(WORK / "run/base/metrics.jsonl")
        assert all(isinstance(line["step"], int) for line in found)


def lock() -> Target:
    (WORK / "owned").mkdir(exist_ok=True)
    return Target([json.dumps(asdict(owner.this_process())).encode(), b"{}", b'{"pid": "x"}'], _lock)


def _lock(data: bytes) -> None:
    (WORK / "owned" / owner.LOCK).write_bytes(_sealed(data))
    owner.owner_of(WORK / "owned")


def encoder_json() -> Target:
    about = {
        "encoder": {"name": "slim10_w8", "options": {}, "stem": "auto", "init": "random"}, "sha256": "0" * 64,
        "projector": {"hidden": 32, "dim": 16, "norm_hidden": True, "norm_output": True}, "preprocess": PREPROCESSING,
        "input_spec": {"size": 16, "mean": [0.5] * 3, "std": [0.2] * 3},
    }  # fmt: skip
    (WORK / "model").mkdir(exist_ok=True)
    return Target([json.dumps(about, indent=1).encode()], _encoder_json)


def _encoder_json(data: bytes) -> None:
    (WORK / "model/encoder.json").write_bytes(_sealed(data))
    Trained.load(WORK / "model")


def weights() -> Target:
    encoder_json()
    import torch

    from divcon.nets.encoder import EncoderSpec
    from divcon.nets.trained import InputSpec, untrained

    torch.set_num_threads(1)
    untrained(EncoderSpec("slim10_w8"), InputSpec(16)).save(WORK / "model")
    return Target([(WORK / "model/encoder.safetensors").read_bytes()], _weights)


def _weights(data: bytes) -> None:
    """With the hash that fits them, whatever they are."""
    (WORK / "model/encoder.safetensors").write_bytes(data)
    about = read_json(WORK / "model/encoder.json")
    write_json(WORK / "model/encoder.json", {**about, "sha256": sha256(WORK / "model/encoder.safetensors")})
    assert Trained.load(WORK / "model").net is not None


def manifest() -> Target:
    (WORK / "checkpoints/step-00000003").mkdir(parents=True, exist_ok=True)
    record = {"step": 3, "of": "x", "sha256": {"model.safetensors": "0" * 64}}
    return Target([json.dumps(record, indent=1).encode()], _manifest)


def _manifest(data: bytes) -> None:
    (WORK / "checkpoints/step-00000003/MANIFEST.json").write_bytes(_sealed(data))
    integrity.mismatches(WORK / "checkpoints/step-00000003/MANIFEST.json")
    checkpoints.damaged(WORK / "checkpoints/step-00000003")


def index() -> Target:
    found = [
        Found(b"a.png", 9, 9, 100, b"a" * 32, thumbnail=bytes(THUMBNAIL_BYTES)),
        Found(b"b", reason="corrupt", detail="x"),
    ]
    Index.of([*found, Found(b"c.png", 9, 9, 100, b"a" * 32)]).save(WORK / "index")
    return Target([(WORK / "index/index.arrow").read_bytes()], _index)


def _index(data: bytes) -> None:
    (WORK / "index/index.arrow").write_bytes(data)
    names = ("index.arrow", "rejected.csv", "duplicates.csv")
    write_json(WORK / "index/MANIFEST.json", {"sha256": {name: sha256(WORK / "index" / name) for name in names}})
    loaded = Index.load(WORK / "index")
    assert loaded.found == loaded.used + loaded.duplicates + loaded.rejected


def scan_cache() -> Target:
    kept = ScanCache(WORK / "scan_cache.arrow")
    kept.add(Entry(b"a.png"), validate.Verdict(1, 2, 3, 9, 9, "00" * 32))
    kept.save()
    return Target([kept.file.read_bytes()[:-32]], _scan_cache)


def _scan_cache(data: bytes) -> None:
    """Behind the right checksum: of a cache that others can write to."""
    (WORK / "scan_cache.arrow").write_bytes(data)
    integrity.append_digest(WORK / "scan_cache.arrow")
    ScanCache.load(WORK / "scan_cache.arrow")


def clusters() -> Target:
    names = [b"a", b"b"]
    made = Clusters(
        np.eye(2, dtype=np.float32), np.array([0, 1]), np.zeros(2, np.float32), lambda at: [names[i] for i in at]
    )
    made.save(WORK / "clusters")
    return Target(
        [(WORK / "clusters" / name).read_bytes() for name in ("clusters.parquet", "centroids.npy")], _clusters
    )


def _clusters(data: bytes) -> None:
    good = WORK / "clusters"
    for name in ("clusters.parquet", "centroids.npy"):
        bad = WORK / "bad-clusters"
        shutil.rmtree(bad, ignore_errors=True)
        shutil.copytree(good, bad)
        (bad / name).write_bytes(data)
        _allowed(lambda folder: Clusters.load(folder).sizes, bad)


def _allowed(do: Callable[[Path], object], folder: Path) -> None:
    with contextlib.suppress(Error):
        do(folder)


def _bare(path: Path) -> bytes:
    """A JSON file of ours without its seal."""
    return json.dumps(read_json(path), indent=1).encode()


def _sealed(data: bytes) -> bytes:
    """The data as it would be under the right seal: what is fuzzed lies behind it."""
    return seal(data.decode("utf-8", "replace")).encode() if data.startswith(b"{") else data


TARGETS: dict[str, Callable[[], Target]] = {
    f.__name__: f for f in (decoders, shards, options, run_json, stage_json, metrics, lock, encoder_json, weights, manifest,
                            index, scan_cache, clusters)}  # fmt: skip
