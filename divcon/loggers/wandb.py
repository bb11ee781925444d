"""Numbers for Weights & Biases: offline, in RUN/wandb, unless WANDB_MODE says otherwise."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..files.text import printable
from .contract import LoggedRun
from .environment import default_environment

if TYPE_CHECKING:
    from wandb.sdk.wandb_run import Run

needs = ("wandb",)

PROJECT = "divcon"
# Only numbers are kept: no code, no output, no names of the machine or its packages. Lines are on the disk within a tenth of a
# second, because a killed process keeps no buffers. Settings with an x may have other names in another version.
SETTINGS: dict[str, object] = {
    "silent": True,
    "console": "off",
    "disable_code": True,
    "save_code": False,
    "disable_git": True,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
    "x_transaction_log_flush_interval": 0.1,
}


class WeightsAndBiases:
    """Sends the numbers of a run to one run of W&B; names are STAGE/NUMBER, and each stage has its own axis STAGE/step.

    Offline, W&B can't go on with a run: each process writes a folder of its own, with the same run id. `wandb sync --append`
    joins them, because `line` rises over all of them.
    """

    def __init__(self, run: "Run"):
        self.run, self.spaces = run, set[str]()

    def log(self, space: str, step: int, values: Mapping[str, float], line: int) -> None:
        if space not in self.spaces:
            self.spaces.add(space)
            self.run.define_metric(f"{space}/*", step_metric=f"{space}/step")
        named = {f"{space}/{name}": value for name, value in values.items()}
        self.run.log(
            {**named, f"{space}/step": step}, step=line, commit=True
        )  # else it is kept back until the next line

    def summarize(self, space: str, values: Mapping[str, float]) -> None:
        self.run.summary.update({f"{space}/summary/{name}": value for name, value in values.items()})

    def close(self) -> None:
        self.run.finish()


def open_logger(run: LoggedRun) -> WeightsAndBiases:
    """Begin a run of W&B; it starts a process of its own, and speaks with it through a local socket."""
    quiet = {
        "WANDB_MODE": "offline",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_CACHE_DIR": str(run.folder / "wandb" / "cache"),
    }
    with default_environment(quiet):
        import wandb

        known = {name: value for name, value in SETTINGS.items() if name in wandb.Settings.model_fields}
        begun = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=run.id,
            name=os.environ.get("WANDB_NAME", printable(run.folder.absolute().name)),
            dir=str(run.folder),
            config=dict(run.options),
            resume="allow" if os.environ["WANDB_MODE"] == "online" else None,
            settings=wandb.Settings(**known),
        )
    return WeightsAndBiases(begun)
