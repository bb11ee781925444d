"""divcon run DATA out=RUN [key=value ...]"""

from typing import Annotated, Any

import typer

from .arguments import Json, Words, split_data_and_options, take_required, typed_options
from .terminal import print_answer, table


def run(
    data: Annotated[
        str, typer.Argument(help="A folder of images, of any nesting, or tar shards: 'shards/{000..123}.tar'.")
    ],
    words: Words = None,
    only: Annotated[str | None, typer.Option(help="Do this stage only, e.g. experts/3.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be done, at what cost; do nothing.")] = False,
    steal_lock: Annotated[
        bool, typer.Option("--steal-lock", help="Take over a folder whose owner is surely gone.")
    ] = False,
    allow_collapse: Annotated[
        bool, typer.Option("--allow-collapse", help="Train on, even if an encoder comes to see the same in all images.")
    ] = False,
    json: Json = False,
) -> None:
    """Train an encoder on a folder of images: out=RUN, and recipe=dnc epochs=60 size=32 ... as you like."""
    piles, words = split_data_and_options(data, words)
    pairs = typed_options(words)
    out = take_required(pairs, "out", "out=runs/photos")
    if plan:
        from ..api.plan import plan as plan_run

        account = plan_run(piles, out=out, only=only, **pairs)
        print_answer(account, json, planned(account))
        return
    from ..api import run

    ran = run.run(piles, out=out, only=only, steal_lock=steal_lock, allow_collapse=allow_collapse, **pairs)
    account = {"run": str(ran.folder), "did": ran.did, "done": ran.done}
    words_out = f"{ran.folder}: done" if ran.done else f"{ran.folder}: {only} done; other stages are waiting"
    print_answer(account, json, words_out if ran.did else f"{words_out}; nothing was left to do")


def planned(account: dict[str, Any]) -> str:
    """The plan as a table."""
    rows = [
        [
            stage["stage"],
            f"{stage['images']:,}",
            f"{stage['steps']:,}",
            str(stage["batch_size"]),
            _clock(stage["seconds"]),
        ]
        for stage in account["stages"]
    ]
    head = table(["stage", "images", "steps", "batch", "time"], rows)
    disk = f"disk: {account['disk_mb']:,.0f} MB needed, {account['free_mb']:,.0f} MB free"
    return f"{head}\n{account['images']:,} images; {disk}; about {_clock(account['seconds'])} in all\n" + "\n".join(
        account["why"]
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
