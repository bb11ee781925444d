"""The linear probe: 50,000 rows of 512 numbers, 100 classes, on all cores.

    python -m benchmarks.bench_probe

The other side is LogisticRegression of scikit-learn, with its fastest BLAS kernel: at one penalty, and along a path of 15
from strong to weak, where both sides begin each penalty at the last solution. scikit-learn stops at its default (tol=1e-4).
The losses are compared at the penalty that is worst for divcon.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from divcon.evals.linear import PATH_TOLERANCE, PENALTIES
from divcon.evals.logistic import Problem, Weights
from divcon.machine import Precision

from .array_peers import scikit_learn_logistic
from .elsewhere import Peer, fastest
from .machines import cores
from .pairs import Row, condition, excess, interleaved, save

ROWS, WIDTH, CLASSES, AIM = 50_000, 512, 100, 3.0
WORSE = 0.01  # percent of the loss that is still the same
ONE = [1e-3]
PATH = sorted(PENALTIES, reverse=True)


def features(folder: Path) -> tuple[Tensor, Tensor]:
    """Classes that overlap, seen through numbers that go together, as those of an encoder do: their variances fall off
    as 1 / rank."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, CLASSES, ROWS)
    middles, mix = rng.standard_normal((CLASSES, WIDTH), np.float32), rng.standard_normal((WIDTH, WIDTH), np.float32)
    x = 0.2 * middles[y] + rng.standard_normal((ROWS, WIDTH), np.float32)
    x = x @ (mix * np.arange(1, WIDTH + 1, dtype=np.float32) ** -0.5).T
    x /= np.sqrt(np.square(x).mean())
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    return torch.from_numpy(x), torch.from_numpy(y)


def loss(x: Tensor, y: Tensor, weights: Weights, penalty: float) -> float:
    """The penalised objective in float64."""
    weight, bias = (part.double() for part in weights)
    logits = torch.cat([part.double() @ weight.T + bias for part in torch.split(x, 10_000)])
    return float(F.cross_entropy(logits, y) + penalty / 2 * weight.square().sum())


def against(
    peer: Peer, folder: Path, path: Sequence[float], pairs: int, precision: Precision, aim: float | None
) -> Iterator[Row]:
    x, y = (torch.from_numpy(np.load(folder / f"{name}.npy")) for name in "xy")
    found: list[Weights] = []

    def ours() -> None:
        found[:] = Problem(x, y, CLASSES, precision).path(path, PATH_TOLERANCE)

    ratio = interleaved(ours, peer, pairs, warmup=int(len(path) == 1))
    peer.write()
    theirs = [(theta[:, :-1], theta[:, -1]) for theta in torch.from_numpy(np.load(folder / "theta.npy"))]
    worse = max(excess(loss(x, y, a, penalty), loss(x, y, b, penalty)) for a, b, penalty in zip(found, theirs, path))
    penalties = f"one penalty, {path[0]:g}" if len(path) == 1 else f"{len(path)} penalties"
    name = f"linear probe, {penalties}, {precision}"
    yield ratio.row(name, str(peer), aim)
    yield condition(f"{name}: loss", str(peer), worse, WORSE, "% above theirs", at_most=True)


def case(path: Sequence[float], pairs: int, precisions: Sequence[Precision]) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        features(Path(folder))
        peer = fastest([scikit_learn_logistic], [folder, *map(str, path)], [folder, "0.1"])
        for precision in precisions:
            yield from against(peer, Path(folder), path, pairs, precision, AIM if precision == "bf16" else None)
        peer.close()


def measure() -> Iterator[Row]:
    torch.set_num_threads(cores())
    yield from case(ONE, 5, ["bf16", "fp32"])
    yield from case(PATH, 5, ["bf16"])


def main() -> None:
    save("probe", measure())


if __name__ == "__main__":
    main()
