"""Every parser, for a while each, on inputs that libFuzzer changes towards code that was not reached yet (by atheris).

python -m tests.fuzz [seconds=20] [target ...]      all of them, or some; the corpora are kept in .fuzz/
python -m tests.fuzz try TARGET FILE                what a target makes of one input: how a finding is looked at
"""

import contextlib
import logging
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".fuzz"
DONE = re.compile(r"#(?P<executions>\d+)\s+DONE\s+cov: (?P<edges>\d+).*corp: (?P<corpus>\d+)/(?P<size>\S+)")


def fuzz(name: str, corpus: str, *flags: str) -> None:
    """One target, in this process, until libFuzzer ends it."""
    import atheris

    with atheris.instrument_imports(include=["divcon", "PIL", "tests.fuzz.targets"]):
        from divcon.errors import Error
        from tests.fuzz.targets import TARGETS

    logging.disable()
    target = TARGETS[name]()
    for number, seed in enumerate(target.seeds):
        (Path(corpus) / f"seed-{number}").write_bytes(seed)

    def one(data: bytes) -> None:
        with contextlib.suppress(Error):
            target.read(data)

    atheris.Setup([sys.argv[0], corpus, *flags], one)
    atheris.Fuzz()


def attempt(name: str, file: str) -> None:
    from tests.fuzz.targets import TARGETS

    TARGETS[name]().read(Path(file).read_bytes())


def run(name: str, seconds: int) -> str:
    """Fuzz one target in a process of its own; a line for the table."""
    corpus, findings = KEPT / name, KEPT / "findings" / name
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    before = len(list(corpus.iterdir()))
    flags = [
        f"-max_total_time={seconds}",
        "-rss_limit_mb=3000",
        "-timeout=30",
        "-max_len=1000000",
        f"-artifact_prefix={findings}/",
    ]
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "one", name, str(corpus), *flags], capture_output=True, text=True, cwd=ROOT,
        errors="backslashreplace",
    )  # fmt: skip
    took = time.monotonic() - begin
    last = DONE.search(done.stderr)
    if done.returncode or last is None:
        (findings / "log").write_text(done.stderr)
        return f"{name:<14} FOUND SOMETHING: {findings}/log\n{done.stderr[-1500:]}"
    return f"{name:<14} {last['executions']:>10} {before:>8} {last['corpus']:>8} {last['size']:>8} {last['edges']:>8} {took:>7.0f}"


def main(words: list[str]) -> int:
    if words[:1] == ["one"]:
        fuzz(*words[1:])
    elif words[:1] == ["try"]:
        attempt(*words[1:])
    else:
        return everything(words)
    return 0


def everything(words: list[str]) -> int:
    from tests.fuzz.targets import TARGETS

    seconds = next((int(word.removeprefix("seconds=")) for word in words if word.startswith("seconds=")), 20)
    names = [word for word in words if "=" not in word] or list(TARGETS)
    shutil.rmtree(KEPT / "findings", ignore_errors=True)
    say(f"{'target':<14} {'executions':>10} {'before':>8} {'corpus':>8} {'size':>8} {'edges':>8} {'seconds':>7}")
    lines = []
    for name in names:
        lines.append(run(name, seconds))
        say(lines[-1])
    return int(any("FOUND" in line for line in lines))


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
