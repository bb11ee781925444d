"""divcon run DATA out=RUN [key=value ...]"""

from typing import TYPE_CHECKING, Annotated

import typer

from .arguments import DataArgument, Json, Words, split_data_and_options, take_output, typed_options
from .progress import clock_time
from .summary import next_commands, summary_text
from .terminal import print_answer, table

if TYPE_CHECKING:
    from ..api.plan import PlanAnswer


def run(
    data: DataArgument,
    words: Words = None,
    only: Annotated[str | None, typer.Option(help="Do this stage only, e.g. experts/3.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show the stages and their cost; do nothing.")] = False,
    steal_lock: Annotated[
        bool, typer.Option("--steal-lock", help="Take over a folder whose owner is surely gone.")
    ] = False,
    allow_collapse: Annotated[
        bool,
        typer.Option("--allow-collapse", help="Train on, even if the encoder's features of all images become alike."),
    ] = False,
    json: Json = False,
) -> None:
    """Train an encoder on a folder of images. Type out=RUN, and recipe=dnc epochs=60 size=32 ... as you like."""
    paths, words = split_data_and_options(data, words)
    options = typed_options(words)
    out = take_output(options, "out", "out=runs/photos")
    options.setdefault("ranks", "auto")
    if plan:
        from ..api.plan import plan as plan_run

        answer = plan_run(paths, out=out, only=only, **options)
        print_answer(answer, json, _plan_text(answer))
        return
    from ..api import run

    ran = run.run(paths, out=out, only=only, steal_lock=steal_lock, allow_collapse=allow_collapse, **options)
    commands = next_commands(paths, ran.summary, ran.folder) if ran.done else []
    print_answer({**ran.as_json(), "next": commands}, json, summary_text(ran, only, commands))


def _plan_text(answer: "PlanAnswer") -> str:
    rows = [
        [
            stage.stage,
            f"{stage.images:,}",
            f"{stage.steps:,}" if stage.steps is not None else "",
            str(stage.batch_size or ""),
            clock_time(stage.seconds),
            f"{stage.memory_mb:,.0f} MB" if stage.memory_mb is not None else "",
        ]
        for stage in answer.stages
    ]
    head = table(["stage", "images", "steps", "batch", "time", "memory"], rows)
    processes = f"{answer.processes} process" + "es" * (answer.processes > 1)
    time = f"about {clock_time(answer.seconds)} in all, {clock_time(answer.cpu_seconds)} of processor time"
    mapped = f"; {answer.mapped_mb:,.0f} MB of decoded pixels are mapped" if answer.mapped_mb else ""
    return "\n".join(
        [
            head,
            f"{answer.images:,} images; {processes}; {time}",
            f"memory: {answer.memory_mb:,.0f} of {answer.machine_mb:,.0f} MB{mapped}",
            *([f"GPU memory: {answer.gpu_mb:,.0f} MB on each"] if answer.gpu_mb else []),
            f"disk: {answer.disk_mb:,.0f} MB needed, {answer.free_mb:,.0f} MB free",
            *answer.why,
        ]
    )
