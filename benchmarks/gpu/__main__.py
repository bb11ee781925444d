"""Everything that can only be shown on a GPU, in one command of under eight minutes: `make gpu`.

    python -m benchmarks.gpu [out=FILE] [only=NAMES] [seconds=470] [device=cuda] [size=tiny]

`size=tiny device=cpu` tries the script itself. The answers are in FILE after each check, so that a command that is cut off
loses only the check at hand.
"""

import datetime
import json
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from .checks import PRELOADED, PROCESSES, Check, Found, Place, alone, last_lines, run
from .packages import advice, broken, missing

OUT = Path(__file__).parents[1] / "results" / "gpu.json"
SECONDS = 470.0


CHECKS = (
    Check("environment", "environment", 60),
    Check("kernels", "environment", 120, leading=True),
    Check("float32", "methods", 80),
    Check("bf16", "methods", 60),
    Check("dnc", "runs", 110),
    Check("resume", "runs", 110, leading=True),
    Check("clustering", "rows", 80),
    Check("resnet50", "resnet50", 110),
    Check("lightly", "peer", 75),
    Check("compiled", "resnet50", 120),
    Check("slower", "resnet50", 40),
)


def main(*words: str) -> int:
    """Do the checks, and return the number of those that did not pass."""
    typed = dict(word.split("=", 1) for word in words)
    out, tiny = Path(typed.get("out", OUT)), typed.get("size") == "tiny"
    names = typed["only"].split(",") if "only" in typed else [check.name for check in CHECKS]
    say_what_is_missing()
    with tempfile.TemporaryDirectory() as folder:
        device = typed.get("device", "cuda")
        return check_all(Path(folder), out, device, tiny, names, float(typed.get("seconds", SECONDS)))


def say_what_is_missing() -> None:
    needed = missing()
    if needed:
        say(advice(needed))
    for reason in broken():
        say(f"can't be imported: {reason}")


def check_all(folder: Path, out: Path, device: str, tiny: bool, names: list[str], seconds: float) -> int:
    if tiny:
        os.environ.setdefault(
            "OMP_NUM_THREADS", "1"
        )  # threads would wait for one another on a machine that has other work
    os.environ["DIVCON_CACHE"] = os.environ.get("DIVCON_CACHE", str(folder / "cache"))
    os.environ.setdefault("NUMBA_CACHE_DIR", os.environ["DIVCON_CACHE"] + "/numba")
    PROCESSES.set_forkserver_preload(PRELOADED)
    place, deadline, kept = Place(device, folder, tiny), time.monotonic() + seconds, header(device, tiny)
    for check in (check for check in CHECKS if check.name in names):
        found = Found()

        def flush(check: Check = check, found: Found = found) -> None:
            kept["checks"][check.name] = found.as_dict()
            write(out, kept)

        found.changed = flush
        begin = time.monotonic()
        do(check, place, found, min(check.seconds, deadline - time.monotonic()))
        found.seconds = time.monotonic() - begin
        flush()
        tell(check.name, found.as_dict())
    return sum(answer["state"] != "passed" for answer in kept["checks"].values())


def do(check: Check, place: Place, found: Found, seconds: float) -> None:
    """One check; whatever goes wrong in it is its own error."""
    if seconds < 5:
        found.error = "not begun: the time of all checks was over"
        return
    try:
        if check.leading:
            check.function()(place, found, seconds)
        else:
            code = alone(found, run, seconds, check, place)
            found.error = found.error or (f"its process ended with exit code {code}" if code else "")
    except Exception:
        found.error = last_lines(traceback.format_exc())


def header(device: str, tiny: bool) -> dict[str, Any]:
    from ..machines import machine

    today = str(datetime.date.today())
    return {"date": today, "device": device, "tiny": tiny, "missing": missing(), "machine": machine(), "checks": {}}


def write(out: Path, kept: dict[str, Any]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    part.write_text(json.dumps(kept, indent=1, default=str) + "\n")
    part.replace(out)


def tell(name: str, answer: dict[str, Any]) -> None:
    say(f"{name}: {answer['state']} in {answer['seconds']} s")
    for claim in answer["claims"]:
        if not claim["met"]:
            say(f"  NOT MET: {claim['claim']} {claim['value']:.3g} (limits {claim['at_least']}, {claim['at_most']})")
    if answer["error"]:
        say("  " + answer["error"].replace("\n", "\n  "))
    say(f"  {json.dumps(answer['figures'], default=str)[:1500]}")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) and 1)
