"""Numbers for MLflow: in RUN/mlflow.db, unless MLFLOW_TRACKING_URI names another store."""

import os
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ..files.text import printable
from .contract import LoggedRun
from .environment import default_environment

if TYPE_CHECKING:
    from mlflow import MlflowClient

needs = ("mlflow", "sqlalchemy", "alembic")

EXPERIMENT = "divcon"
TAG = "divcon.run"  # has the id of the run, so that a resumed run is found again
BATCH = 100  # parameters in a request
LONGEST = 500  # characters of a parameter
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "WARNING"}  # unless the user has set them


class MLflow:
    """Sends the numbers of a run to one run of MLflow; names are STAGE/NUMBER."""

    def __init__(self, client: "MlflowClient", id: str):
        self.client, self.id = client, id

    def log(self, space: str, step: int, values: Mapping[str, float], line: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.client.log_batch(self.id, [Metric(f"{space}/{name}", value, now, step) for name, value in values.items()])

    def summarize(self, space: str, values: Mapping[str, float]) -> None:
        self.log(f"{space}/summary", 0, values, 0)

    def describe(self, options: Mapping[str, object]) -> None:
        """Keep the options as parameters."""
        from mlflow.entities import Param

        params = [Param(name, str(value)[:LONGEST]) for name, value in options.items()]
        for begin in range(0, len(params), BATCH):
            self.client.log_batch(self.id, params=params[begin : begin + BATCH])

    def close(self) -> None:
        self.client.set_terminated(self.id)


def open_logger(run: LoggedRun) -> MLflow:
    """Open the store, and the run in it that earlier processes wrote to."""
    with default_environment(QUIET):
        from mlflow import MlflowClient

        client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{run.folder.absolute()}/mlflow.db")
    experiment = _experiment(client, run)
    for before in _runs_before(client, experiment, run.id):
        client.update_run(before, status="RUNNING")
        return MLflow(client, before)
    created = client.create_run(experiment, tags={TAG: run.id}, run_name=printable(run.folder.absolute().name))
    logger = MLflow(client, created.info.run_id)
    logger.describe(run.options)
    return logger


def _experiment(client: "MlflowClient", run: LoggedRun) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    local = None if os.environ.get("MLFLOW_TRACKING_URI") else (run.folder.absolute() / "mlflow-artifacts").as_uri()
    return str(client.create_experiment(EXPERIMENT, artifact_location=local))


def _runs_before(client: "MlflowClient", experiment: str, id: str) -> Iterator[str]:
    for found in client.search_runs([experiment], f"tags.`{TAG}` = '{id}'", max_results=1):
        yield str(found.info.run_id)
