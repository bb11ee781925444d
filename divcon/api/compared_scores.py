"""The scores that compared runs keep for a labeled folder, besides those of neighbors and of the linear classifier."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..evals.tasks.registry import all_tasks
from ..files.text import printable
from ..nets.trained import Trained
from ..runs.evals import EvalKey, kept_scores, stage_of

MOST_SHOWN = 4  # values of a list in a title


@dataclass(frozen=True)
class Score:
    """A score: its task, what the task measures, and its settings as JSON."""

    task: str
    metric: str
    settings: str


def other_scores(models: Mapping[Path, Trained], keys: Sequence[EvalKey]) -> dict[Path, dict[str, float]]:
    """Return the scores of other tasks that each run keeps for the images and the options of one of the keys, by their titles."""
    kept = {
        run: {score: value for key in keys for score, value in _kept(model, key).items()}
        for run, model in models.items()
    }
    titles = titles_of({score for scores in kept.values() for score in scores})
    return {
        run: {title: scores[score] for score, title in titles.items() if score in scores}
        for run, scores in kept.items()
    }


def _kept(model: Trained, key: EvalKey) -> dict[Score, float]:
    place = stage_of(model.folder) if model.folder else None
    return {
        Score(_column(name), task.metric, json.dumps(kept.key.settings.get(name, {}), sort_keys=True)): task.score
        for kept in (kept_scores(place[0]) if place else ())
        if place and kept.stage == place[1] and replace(kept.key, tasks=key.tasks, settings=key.settings) == key
        for name, task in (kept.scores.tasks or {}).items()
        if task.score is not None
    }


def _column(name: str) -> str:
    """The name of a task, and what its score is where the name says something else."""
    task = all_tasks().get(name)
    return f"{name}: {task.measure}" if task and task.measure else name


def titles_of(scores: Collection[Score]) -> dict[Score, str]:
    """Return a title for each score: the name of its task, and the settings and the metric in which scores of it differ."""
    ordered = sorted(scores, key=lambda score: (score.task, score.metric, score.settings))
    alike = {score: [other for other in ordered if other.task == score.task] for score in ordered}
    short = {score: _title(score, others, _shortened) for score, others in alike.items()}
    if len({*short.values()}) == len(short):
        return short
    return {score: _title(score, others, json.dumps) for score, others in alike.items()}


def _shortened(value: object) -> str:
    """A value as JSON; of a list of many only the ends and the length."""
    if not isinstance(value, list) or len(value) <= MOST_SHOWN:
        return json.dumps(value)
    return f"[{json.dumps(value[0])} .. {json.dumps(value[-1])}, {len(value)} values]"


def _title(score: Score, alike: Collection[Score], shown: Callable[[object], str]) -> str:
    own, *others = [json.loads(each.settings) for each in (score, *alike)]
    differing = [name for name in own if any(other.get(name) != own[name] for other in others)]
    metric = [f"({score.metric})"] if len({each.metric for each in alike}) > 1 else []
    return printable(" ".join([score.task, *(f"{name}={shown(own[name])}" for name in differing), *metric]))
