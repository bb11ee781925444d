"""divcon demo"""

from pathlib import Path
from typing import TYPE_CHECKING

from ..files.text import printable
from ..runs.folder import REPORT
from .arguments import Json, Words, typed_options
from .terminal import print_answer

if TYPE_CHECKING:
    from ..api.demo import DemoAnswer


def demo(words: Words = None, json: Json = False) -> None:
    """Try Divide and Contrast in minutes. The images are Open Clip Art, or synthetic ones if there is no apt-get."""
    options = typed_options(words)
    from ..api import demo

    answer = demo.demo(**options)
    print_answer(answer, json, _text(answer))


def _report(answer: "DemoAnswer") -> str:
    return f", and {REPORT}, for a browser, all that came out" if (Path(answer.run) / REPORT).is_file() else ""


def _text(answer: "DemoAnswer") -> str:
    lines = [f"{'':<12}{'20-NN':>8}{'linear':>8}"]
    for name, score in answer.scores.items():
        cells = [score.knn and score.knn.top1, score.linear and score.linear.top1]
        lines.append(f"{name:<12}" + "".join(f"{'-' if top1 is None else f'{top1:.1%}':>8}" for top1 in cells))
    lines += [
        "",
        f"Trained on {answer.pretrained_on}.",
        f"Scored by top-level folder: {answer.train:,} images to learn from, {answer.test:,} to be tested on.",
        "",
    ]
    for k, cluster in enumerate(answer.clusters):
        folders = ", ".join(f"{printable(name)} {share:.0%}" for name, share in cluster.folders.items())
        lines.append(f"cluster {k}: {cluster.images:,} images; {folders}")
    lines += [
        "",
        f"Everything is in {answer.run}; clusters.png there shows a row of pictures for each cluster{_report(answer)}.",
    ]
    return "\n".join(lines)
