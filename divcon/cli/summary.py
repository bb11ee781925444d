"""The end of a run in words: what was done, where the results lie, and what can be typed next."""

import pkgutil
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import few
from ..files.paths import as_paths, expand_home
from ..files.text import printable
from .progress import duration

if TYPE_CHECKING:
    from ..api.run import RunAnswer
    from ..api.run_summary import RunScores, RunSummary

SUGGESTED = 3  # commands
TASKS = {"knn": "20-NN", "linear": "linear"}


def summary_text(ran: "RunAnswer", only: str | None, commands: list[str]) -> str:
    """Return the summary of a run in lines."""
    summary = ran.summary
    head = f"{printable(ran.folder)}: done" if ran.done else f"{printable(ran.folder)}: {only} done; other stages wait"
    nothing = "" if ran.did else "; nothing was left to do"
    rows = [
        ("did", few(ran.did) if ran.did else ""),
        ("images", f"{summary.images:,}; the trainings showed {summary.images_seen:,}"),
        ("time", f"{duration(summary.seconds)} in {_count(len(summary.stages), 'stage')}"),
        ("encoder", printable(summary.encoder) if summary.encoder else ""),
        *(("scores", _scores(scores)) for scores in summary.scores),
        ("report", printable(summary.report) if summary.report else ""),
    ]
    lines = [f"  {name:<8}{text}" for name, text in rows if text]
    after = ["next:", *(f"  {command}" for command in commands)] if commands else []
    return "\n".join([f"{head}{nothing}", *lines, *after])


def next_commands(data: str | list[str], summary: "RunSummary", run: Path) -> list[str]:
    """Return three commands that a user may type after a run: those of the verbs there are that make the most of it first."""
    folder, *images = typed = [_as_typed(path) for path in (run, *as_paths(data))]
    if any(printable(path) != path for path in typed):
        return []  # names that no terminal can show can't be copied from one
    from ..curation.picks import usual_number

    out = folder if run.name else str(run.absolute())
    commands = {
        "report": [] if summary.report else [folder],
        "pick": [folder, f"n={usual_number(summary.images)}", "how=diverse", f"out={out}-pick.csv"],
        "export": [folder, f"out={out}-export", "format=safetensors"],
        "embed": [folder, *images, f"out={out}.parquet"],
        "status": [folder, "verify=true"],
        "look": images,
    }
    verbs = {module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])}
    lines = [shlex.join(["divcon", verb, *words]) for verb, words in commands.items() if verb in verbs and words]
    return lines[:SUGGESTED]


def _as_typed(path: Path) -> str:
    """The path as a word that no command takes for an option."""
    text = str(expand_home(path))
    return f"./{text}" if text.startswith("-") or ("=" in text and not path.is_absolute()) else text


def _scores(scores: "RunScores") -> str:
    top1 = ", ".join(f"{TASKS.get(task, task)} {score:.1%}" for task, score in scores.top1.items())
    return f"{top1} ({scores.stage} on {printable(scores.labeled)})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
