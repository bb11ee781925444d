"""The section of docs/performance.md about a GPU."""

import json
from pathlib import Path
from typing import Any

from .packages import PROJECT

RESULT = PROJECT.parent / "benchmarks" / "results" / "gpu.json"
NOT_RUN = (
    "`make gpu` has checks for a GPU: not run yet. So nothing on this page, and no part of divcon, was tried on one."
)
NOTES = """- A run whose algorithms are deterministic (`torch.use_deterministic_algorithms`, `CUBLAS_WORKSPACE_CONFIG=:4096:8`) ends in
  the same bits when it is repeated, and when it is killed and goes on: the check `resume`. divcon does not choose these
  algorithms itself. Without them two runs on a GPU may differ, because sums on a GPU have no fixed order.
- `planned over trained` is the plan of the trainings over their seconds. In the check `dnc` stages take some seconds, and most of
  that is their beginning: so its plan is below the truth. In a run of hours the beginning does not count.
- Not tried: several GPUs."""
SHOWN = 6  # figures of a check


def section(file: Path = RESULT) -> str:
    """What was found on a GPU, or that nothing was."""
    if not file.exists():
        return f"## On a GPU\n\n{NOT_RUN}\n"
    result = json.loads(file.read_text())
    lines = [
        f"| {name} | {answer['date']} | {answer['state']} | {met(answer)} | {said(answer)} |"
        for name, answer in result["checks"].items()
    ]
    table = ["| check | date | outcome | claims that hold | figures |", "|---|---|---|---|---|", *lines]
    return "\n".join(["## On a GPU\n", place(result), "", NOTES, "", *table, "", *missed(result), *network(result)])


def place(result: dict[str, Any]) -> str:
    found = result["checks"].get("environment", {}).get("figures", {})
    gpu = f"{found['gpu']}, driver {found['driver']}, CUDA {found['cuda']}" if "gpu" in found else result["device"]
    small = ", in miniature" if result["tiny"] else ""
    return (
        f"{gpu}{small}, {result['machine']['cores']} cores, torch {found.get('torch', 'unknown')}. "
        f"`make gpu` measures it again. One run, so figures have no spread."
    )


def met(answer: dict[str, Any]) -> str:
    claims = answer["claims"]
    return f"{sum(claim['met'] for claim in claims)} of {len(claims)}" if claims else ""


def said(answer: dict[str, Any]) -> str:
    """The first plain figures of a check, or the last line of its error."""
    if answer["error"]:
        return str(answer["error"]).splitlines()[-1].replace("|", "/")
    plain = {name: value for name, value in answer["figures"].items() if isinstance(value, int | float | str)}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in [*plain.items()][:SHOWN]).replace("|", "/")


def missed(result: dict[str, Any]) -> list[str]:
    """The claims that do not hold, one on a line."""
    return [
        f"- **missed**: {claim['claim']} {claim['value']:.3g}, {bound(claim)}"
        for answer in result["checks"].values()
        for claim in answer["claims"]
        if not claim["met"]
    ]


def bound(claim: dict[str, Any]) -> str:
    most, least = claim["at_most"], claim["at_least"]
    return f"at most {most:g}" if most is not None else f"at least {least:g}"


def network(result: dict[str, Any]) -> list[str]:
    """The table of images per second of ResNet-50 at 224 pixels."""
    checks = ("resnet50", "slower", "lightly")
    rows = [
        f"| {check}: {name.replace('_', ' ')} | {figures['images_per_second']:,.0f} | {wait(figures)} |"
        for check in checks
        for name, figures in result["checks"].get(check, {}).get("figures", {}).items()
        if isinstance(figures, dict) and "images_per_second" in figures
    ]
    head = ["", "| ResNet-50, 224 pixels, batch 256 | images a second | waiting for data |", "|---|---|---|"]
    return [*head, *rows, ""] if rows else []


def wait(figures: dict[str, Any]) -> str:
    return f"{figures['data_wait']:.1%}" if "data_wait" in figures else ""
