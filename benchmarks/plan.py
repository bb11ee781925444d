"""The plan of a run against what then happened: time, processor time, memory and disk, on three sizes and on 1 and 2 ranks.

    python -m benchmarks.plan            # the six cases, into results/plan.json and docs/scaling.md
    python -m benchmarks.plan 300 1      # one of them, printed

Each case plans a `dnc` run of a synthetic collection, does it, and plans it again. All are commands of their own, and each case has
a cache of its own. The planned times are the means of both plans, since other work on the machine comes and goes. What happened is seen from outside, ten times a second, from the first stage to the end of the last one:

- the seconds by the clock, and the processor seconds of all processes of the command;
- the memory of all these processes that belongs to no file (RssAnon), at its most;
- the bytes on the disk, in the folder of the run and in the pixel cache, at their most.

The clock is that of a machine on which other work may go on; processor time is almost free of that.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from divcon.data.synthetic import make_collection

from .machines import machine
from .pairs import RESULTS, rounded

EPOCHS = {300: 20.0, 3000: 2.0, 20_000: 0.3}  # of each size: 6,000 images are shown
RANKS = (1, 2)
OPTIONS = ["encoder=slim10", "size=32", "report=false", "save_every=5"]  # a short training saves as often as a long one
LOOKS = 0.1  # seconds between two looks
LAST = "student/stage.json"
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = Path(__file__).parent.parent / "docs" / "scaling.md"
BEGIN, END = "<!-- begin: python -m benchmarks.plan -->\n", "<!-- end: plan -->\n"
KINDS = ("seconds", "cpu_seconds", "memory_mb", "disk_mb")

Row = dict[str, Any]


def measure(sizes: tuple[int, ...] = tuple(EPOCHS), ranks: tuple[int, ...] = RANKS) -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="divcon-plan-") as name:
        first = make_collection(Path(name) / "first", 40)
        planned(
            first, Path(name) / "first-run", [f"cache={name}/first-cache", "recipe=moclr", *OPTIONS]
        )  # compiles kernels
        for n in sizes:
            photos = make_collection(Path(name) / f"made-{n}", n)
            for each in ranks:
                yield compared(photos, Path(name) / f"{n}-{each}", n, each)


def compared(photos: Path, folder: Path, n: int, ranks: int) -> Row:
    """Plan a run, do it, and plan it again; return for each figure that of the plan, that of the run, and their ratio."""
    options = [f"cache={folder / 'cache'}", f"epochs={EPOCHS[n]}", f"ranks={ranks}", *OPTIONS]
    before = planned(photos, folder / "run", options)
    happened = watched(words(photos, folder / "run", options), folder)
    after = planned(photos, folder / "again", options)
    figures = {}
    for kind in KINDS:
        said, seen = (before[kind] + after[kind]) / 2 if "seconds" in kind else before[kind], getattr(happened, kind)
        figures[kind] = [rounded(said), rounded(seen), rounded(said / seen)]
    return {"case": f"{n:,} images, {ranks} rank{'s' * (ranks > 1)}", "figures": figures}


def words(photos: Path, out: Path, options: list[str]) -> list[str]:
    return [sys.executable, "-m", "divcon", "run", str(photos), f"out={out}", *options, "--json"]


def planned(photos: Path, out: Path, options: list[str]) -> dict[str, float]:
    done = subprocess.run([*words(photos, out, options), "--plan"], check=True, stdout=subprocess.PIPE)
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


@dataclass
class Happened:
    """What was seen of a command and its processes, from its first stage to its last one."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory_mb: float = 0.0
    disk_mb: float = 0.0
    spent: dict[int, float] = field(default_factory=dict)  # processor seconds so far, by process
    before: float = 0.0

    def look(self, command: int, folder: Path) -> None:
        """Note the memory, the disk and the processor time of this moment."""
        processes = tree(command)
        self.spent |= {pid: processor_seconds(pid) or self.spent.get(pid, 0.0) for pid in processes}
        if not (folder / "run" / "base").exists():
            self.before = sum(self.spent.values())
        elif not (folder / "run" / LAST).exists():
            self.memory_mb = max(self.memory_mb, sum(private_bytes(pid) for pid in processes) / 1e6)
            self.disk_mb = max(self.disk_mb, disk_bytes(folder) / 1e6)
            self.cpu_seconds = sum(self.spent.values()) - self.before


def watched(command_line: list[str], folder: Path) -> Happened:
    """Do a command, and look at it until it ends."""
    happened, over = Happened(), threading.Event()
    with subprocess.Popen(command_line, stdout=subprocess.PIPE) as command:

        def watch() -> None:
            while not over.wait(LOOKS):
                happened.look(command.pid, folder)

        watcher = threading.Thread(target=watch)
        watcher.start()
        command.communicate()
        over.set()
        watcher.join()
    if command.returncode:
        raise RuntimeError(f"{' '.join(command_line)} ended with {command.returncode}")
    happened.seconds = stage_seconds(folder / "run")
    return happened


def stage_seconds(run: Path) -> float:
    """The seconds from the moment in which the index was written to the end of the last stage."""
    return (run / LAST).stat().st_mtime - (run / "images" / "MANIFEST.json").stat().st_mtime


def tree(pid: int) -> list[int]:
    """A process and those below it."""
    parents = {int(path.name): _stat(path) for path in Path("/proc").iterdir() if path.name.isdigit()}
    found = [pid]
    for each in found:
        found += [child for child, stat in parents.items() if stat and int(stat[1]) == each]
    return found


def _stat(process: Path) -> list[str]:
    """The fields of /proc/PID/stat from the state on; none if the process is gone."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def processor_seconds(pid: int) -> float:
    stat = _stat(Path("/proc") / str(pid))
    return (int(stat[11]) + int(stat[12])) / TICKS if stat else 0.0


def private_bytes(pid: int) -> int:
    """The bytes of a process's memory that belong to no file."""
    try:
        found = re.search(r"^RssAnon:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def disk_bytes(folder: Path) -> int:
    """The bytes of the run's files and of the decoded pixels."""
    total = 0
    for place in (folder / "run", folder / "cache" / "pixels"):
        for path in place.rglob("*"):
            try:
                total += path.stat().st_size if path.is_file() else 0
            except OSError:  # it was removed meanwhile
                continue
    return total


def table(rows: list[Row]) -> str:
    """Return the rows as a table of Markdown: planned / happened, and their ratio."""
    head = "| | seconds | processor seconds | memory, MB | disk, MB |\n|---|---|---|---|---|\n"
    return head + "".join(
        f"| {row['case']} | " + " | ".join(_cell(*row["figures"][kind]) for kind in KINDS) + " |\n" for row in rows
    )


def _cell(planned: float, happened: float, ratio: float) -> str:
    return f"{planned:,.0f} / {happened:,.0f} = {ratio:.2f}"


def drawn(page: str, rows: list[Row]) -> str:
    """Return the page with the table of these rows."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{table(rows)}\n{END}{rest.partition(END)[2]}"


def main() -> None:
    chosen = [tuple(map(int, word.split(","))) for word in sys.argv[1:]]
    rows = []
    for row in measure(*chosen):
        rows.append(row)
        sys.stdout.write(table([row]).splitlines()[-1] + "\n")
        sys.stdout.flush()
    if not chosen:
        (RESULTS / "plan.json").write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
        PAGE.write_text(drawn(PAGE.read_text(), rows))


if __name__ == "__main__":
    main()
