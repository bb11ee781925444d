"""Cost and speed of each stage."""

from ..facts import RunFacts, StageFacts
from ..parts import Cell, Plot, Section, Table, capped, duration, share
from ..plots import Series, bars

MOST_ROWS = 200
MOST_BARS = 24


def cost_section(facts: RunFacts) -> Section:
    """Return the section: seconds, images, speed, waiting and memory of each stage."""
    machine = facts.record.machine
    about = f"{machine.get('device', '?')}, {machine.get('precision', '?')}, {machine.get('compute_threads', '?')} compute threads"
    seen = sum(stage.number("images_seen") or 0 for stage in facts.stages)
    text = f"The finished stages took {duration(facts.seconds)} in all and showed {seen:,.0f} images ({about})."
    return Section("cost", "Cost and speed", [text], [_plot(facts)])


def _plot(facts: RunFacts) -> Plot:
    stages = facts.stages
    title = "Seconds of each stage"
    head = [
        "stage",
        "state",
        "time",
        "seconds",
        "images seen",
        "images a second",
        "waiting for images",
        "peak memory, MB",
    ]
    rows, more = capped([_row(stage) for stage in stages], MOST_ROWS, "divcon status lists all")
    shown = stages[:MOST_BARS]
    series = [Series("seconds", range(len(shown)), [stage.seconds for stage in shown])]
    longest = max(stages, key=lambda stage: stage.seconds)
    about = f"Bars of the seconds; the longest is {longest.name} with {longest.seconds:,.0f}."
    return Plot(
        title,
        about,
        bars("seconds", title, [stage.name for stage in shown], series, "seconds"),
        Table(title, head, rows, more),
    )


def _row(stage: StageFacts) -> list[Cell]:
    seen, rate, memory = (stage.number(name) for name in ("images_seen", "images_per_second", "peak_rss_mb"))
    return [
        stage.name,
        stage.state,
        duration(stage.seconds),
        f"{stage.seconds:,.1f}",
        "-" if seen is None else int(seen),
        "-" if rate is None else f"{rate:,.1f}",
        share(stage.number("data_wait")),
        "-" if memory is None else f"{memory:,.0f}",
    ]
