"""Score a model on labeled images."""

from pathlib import Path

from ..config import Gigabytes, Seed, Workers
from ..data.labeled.layout import Split
from ..data.labeled.scored import Scored
from ..evals.tasks.registry import chosen_tasks
from ..files.caches import cache_folder
from ..nets.net import Layer
from ..nets.trained import Trained
from ..runs.evals import EvaluateAnswer
from .entry import runs_alone
from .models import Patterns, find_model
from .scored import open_scored
from .scoring import Scoring


@runs_alone
def evaluate(
    model: str | Path | Trained,
    labeled: str | Path | Scored,
    *,
    tasks: str | tuple[str, ...] | None = None,
    settings: dict[str, object] | None = None,
    seed: Seed = 0,
    split: Split = "auto",
    include: Patterns = (),
    exclude: Patterns = (),
    layer: Layer = "pool",
    whiten: bool = True,
    cache: str | Path | None = None,
    cache_gb: Gigabytes = 8.0,
    workers: Workers | None = None,
) -> EvaluateAnswer:
    """Return the scores, in 0..1, of a model on a labeled folder: kNN and linear accuracy, or those of the `tasks` named. In the
    layout of PASCAL VOC an image has several classes: the score is the mean average precision of SVMs. Neighbors are compared
    by whitened features, with raw ones beside, unless whiten=False or the encoder has no whitening.

    Settings of a task are given by dotted names, like settings={"few_shot.draws": 3}. Penalties are chosen on held-out training
    images; the test images are used once. `split` is the layout of the folder, if its names don't show it: None if each
    subfolder is a class, or "train,val". `seed` splits a folder without parts. The scores of a run's stage are kept in
    RUN/evals. Raises DataError if the images can't be split, or are too few.
    """
    chosen_tasks(tasks, None, settings)  # a typo is refused before the folder is read
    folder = cache_folder(cache)
    data = (
        labeled
        if isinstance(labeled, Scored)
        else open_scored(labeled, tasks, split=split, include=include, exclude=exclude, cache=folder, workers=workers)
    )
    chosen = chosen_tasks(tasks, data.truth, settings)
    scoring = Scoring(
        data=data,
        tasks=chosen,
        seed=seed,
        layer=layer,
        whiten=whiten,
        cache=folder,
        cache_gb=cache_gb,
        workers=workers,
    )
    scoring.split  # noqa: B018 - images that can't be split are refused before the model is read
    if isinstance(model, Trained):
        return scoring.scores(model, model.fingerprint)
    return scoring.scores(find_model(model), str(model))
