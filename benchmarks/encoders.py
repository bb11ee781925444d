"""docs/encoders.md: a network of every family of timm, built and trained for a step as divcon would.

    make encoders

or, for some of them, `python -m benchmarks.encoders only=vgg,levit`. Each is tried in a process of its own, which may take so
many seconds. The rows are in benchmarks/encoders.json, where `only=` replaces its own.
"""

import json
import multiprocessing
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from divcon.files.atomic import write_text
from divcon.methods.contract import Batch, Step
from divcon.methods.moclr import MoCLR
from divcon.nets.encoder import EncoderSpec, build
from divcon.nets.encoder_trial import accepts_size, size_error
from divcon.nets.timm_models import designed_size
from divcon.nets.trained import InputSpec, Trained

ROOT = Path(__file__).parents[1]
ROWS, PAGE = ROOT / "benchmarks" / "encoders.json", ROOT / "docs" / "encoders.md"
PROCESSES = multiprocessing.get_context("forkserver")
USUAL = 64  # pixels: on a CPU, for all but slim encoders
SIZES = (16, 24, 32, 48, 64, 96, 128, 192, 224, 240, 256, 384)
IMAGES, SECONDS = 4, 600
HEAD = """# The encoders

Any network of timm can be the encoder: `encoder=NAME`. With `init=timm` it starts from timm's trained weights, and
`encoder=NAME.TAG` chooses one set of them. A network is built for the size of the views: a network of a fixed size gets
`img_size=`, and takes other sizes too if its family can (SwAV's small crops, the tiles of a jigsaw). Before a run begins, each
encoder is tried on images of each size that its method shows. If it does not take one, `divcon run` says so with the sizes
that work (exit code 64).

The table has the smallest network of each family of timm {version} ({families} families; {good} of them train at 64 pixels, the
default on a CPU). Each network took one step of MoCLR on {images} images at the size in the third column, was written to disk and
read back, and gave the same features. `make encoders` draws the page again, and `make test` tries some networks.

| family | network | size | outcome | sizes that work, of {sizes} | several at once |
|---|---|---|---|---|---|
"""
FOOT = """
"Several at once" says if one network takes views of 64 and of 32 pixels, as SwAV shows them. If it is "no", use
`base.options.crops=0`, or a method whose views have one size.
"""


def main() -> None:
    import timm

    only = dict(word.split("=", 1) for word in sys.argv[1:]).get("only")
    rows: dict[str, Any] = json.loads(ROWS.read_text()) if only and ROWS.exists() else {}
    PROCESSES.set_forkserver_preload(
        ["timm", "torch._meta_registrations", "divcon.methods.moclr", "divcon.nets.encoder_trial"]
    )
    for family in only.split(",") if only else timm.list_modules():
        rows[family] = _alone(family)
        write_text(ROWS, json.dumps(dict(sorted(rows.items())), indent=1) + "\n")
        sys.stdout.write(f"{family}: {rows[family]}\n")
        sys.stdout.flush()
    write_text(PAGE, page(rows))


def _alone(family: str) -> dict[str, Any]:
    """The family's row, from a process of its own: a network may take much memory, or for ever."""
    ours, its = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=_send, args=(its, family))
    process.start()
    its.close()
    try:
        if ours.poll(SECONDS):
            found: dict[str, Any] = ours.recv()
            return found
        return {"network": "", "size": None, "outcome": f"not done in {SECONDS} s", "sizes": [], "several": False}
    except EOFError:
        return {"network": "", "size": None, "outcome": "its process died", "sizes": [], "several": False}
    finally:
        process.kill()
        process.join()


def _send(pipe: Connection, family: str) -> None:
    torch.set_num_threads(1)
    name = smallest(family)
    try:
        pipe.send(row(name))
    except Exception as error:
        why = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        pipe.send({"network": name, "size": None, "outcome": why, "sizes": [], "several": False})


def row(name: str) -> dict[str, Any]:
    """The result of training a network at 64 pixels, or else at the size it was designed for."""
    spec = EncoderSpec(name)
    sizes = [size for size in SIZES if accepts_size(spec, size, lambda size: [size])]
    size = next((size for size in (USUAL, designed_size(name), *sizes) if size in sizes), USUAL)
    several = accepts_size(spec, USUAL, lambda size: [size, size // 2])
    return {"network": name, "size": size, "outcome": outcome(spec, size), "sizes": sizes, "several": several}


def smallest(family: str) -> str:
    """Of the family's networks, by parameters; of equals, the first by name."""
    import timm

    def parameters(name: str) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in timm.create_model(name, num_classes=0).parameters())

    return min(timm.list_models(module=family), key=parameters)


def outcome(spec: EncoderSpec, size: int) -> str:
    """Of a step of MoCLR, and of the network on disk: "trains", or what went wrong."""
    torch.manual_seed(0)
    encoder = build(spec, size)
    if why := size_error(encoder, size, training=True):
        return f"refused: {why}"
    method = MoCLR(encoder, 64, hidden=64, dim=32).train()
    loss = method(Batch([_noise(size, 1), _noise(size, 2)], torch.arange(IMAGES)), Step(0, 1, 0)).loss
    loss.backward()
    gradients = [p.grad for p in method.net.encoder.parameters() if p.grad is not None]
    if not gradients or not all(bool(torch.isfinite(g).all()) for g in (loss.detach(), *gradients)):
        return "a loss or gradient that is not finite"
    model = Trained(spec, InputSpec(size), method.net.eval())
    return "trains" if _comes_back(model) else "not the same once it is read back"


def _comes_back(model: Trained) -> bool:
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        model.save(Path(folder))
        images = _noise(model.input_spec.size, 3)
        return torch.equal(Trained.load(Path(folder)).net(images), model.net(images))


def _noise(size: int, seed: int) -> Tensor:
    return torch.randn(IMAGES, 3, size, size, generator=torch.Generator().manual_seed(seed))


def page(rows: dict[str, Any]) -> str:
    import timm

    good = sum(row["outcome"] == "trains" and row["size"] == USUAL for row in rows.values())
    head = HEAD.format(
        version=timm.__version__, families=len(rows), good=good, images=IMAGES, sizes=", ".join(map(str, SIZES))
    )
    return head + "".join(_line(family, row) for family, row in sorted(rows.items())) + FOOT


def _line(family: str, row: dict[str, Any]) -> str:
    several = "yes" if row["several"] else "no"
    return f"| {family} | {row['network']} | {row['size']} | {row['outcome']} | {_ranges(row['sizes'])} | {several} |\n"


def _ranges(sizes: list[int]) -> str:
    """Neighbors in the list of sizes as a range: 64-512."""
    runs: list[list[int]] = []
    for size in sizes:
        if runs and SIZES.index(size) == SIZES.index(runs[-1][-1]) + 1:
            runs[-1].append(size)
        else:
            runs.append([size])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


if __name__ == "__main__":
    main()
