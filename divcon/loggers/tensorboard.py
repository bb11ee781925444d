"""Numbers for TensorBoard, in RUN/tensorboard: a folder for each stage, so that stages share a plot."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .contract import LoggedRun

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

needs = ("tensorboard",)


class TensorBoard:
    """Writes event files; each line is on the disk when `log` returns, because a killed process keeps no buffers."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.writers: dict[str, SummaryWriter] = {}

    def log(self, space: str, step: int, values: Mapping[str, float], line: int) -> None:
        for name, value in values.items():
            self._writer(space).add_scalar(name, value, step)
        self._writer(space).flush()

    def summarize(self, space: str, values: Mapping[str, float]) -> None:
        self.log(space, 0, {f"summary/{name}": value for name, value in values.items()}, 0)

    def describe(self, options: Mapping[str, object]) -> None:
        """Keep the options as a table in Markdown."""
        rows = [f"| {name} | `{value}` |" for name, value in options.items()]
        writer = self._writer(".")
        writer.add_text("options", "\n".join(["| option | value |", "|---|---|", *rows]))
        writer.flush()

    def close(self) -> None:
        for writer in self.writers.values():
            writer.close()

    def _writer(self, space: str) -> "SummaryWriter":
        from torch.utils.tensorboard import SummaryWriter

        if space not in self.writers:
            self.writers[space] = SummaryWriter(str(self.folder / space))
        return self.writers[space]


def open_logger(run: LoggedRun) -> TensorBoard:
    """Open the folder; write the options where no process has."""
    logger = TensorBoard(run.folder / "tensorboard")
    if not run.resumed:
        logger.describe(run.options)
    return logger
