"""The whole pipeline under watch: what it opens, starts, connects to and unpickles.

python tests/audited.py          what Python sees, by sys.addaudithook, in the run and in the processes that decode
python tests/audited.py strace   what the kernel sees, of native code too (needs strace)
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent

# Every Python process that finds this on its path reports; the reports of all go into one file, a line each.
HOOK = """
import os, sys
log = os.open(os.environ["AUDIT_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
loud = ("open", "pickle.find_class", "subprocess.Popen", "webbrowser.open", "shutil.unpack_archive", "ctypes.dlopen")
quiet = {"os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.putenv", "os.unsetenv", "os.chdir", "os.listxattr"}
kinds = ("os.", "socket.", "urllib.", "http.", "ftplib.", "smtplib.", "telnetlib.", "shutil.")
def who():
    frame, files = sys._getframe(2), []
    while frame is not None:
        files.append(frame.f_code.co_filename)
        frame = frame.f_back
    return files
def whole(event, args):
    args = [os.fspath(a) if hasattr(a, "__fspath__") else a for a in args]
    if event in ("os.remove", "os.rmdir") and args[1] >= 0:
        args[0] = os.path.join(os.readlink(f"/proc/self/fd/{args[1]}"), os.fsdecode(args[0]))
    return [a if isinstance(a, (str, bytes, int)) else repr(a) for a in args]
def hook(event, args):
    if event in loud or event.startswith(kinds) and event not in quiet:
        files = who() if event in ("pickle.find_class", "subprocess.Popen") or event.startswith("socket.") else []
        line = repr((event, whole(event, args), files))
        os.write(log, line.encode("utf-8", "backslashreplace") + b"\\n")
sys.addaudithook(hook)
"""

PIPELINE = """
import json, sys
from pathlib import Path
photos, out, options = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
import divcon
divcon.look(photos, sheet=out / "sheet.png")
divcon.run(photos, out=out / "run", **options)
divcon.redo(out / "run", "student")
divcon.run(photos, out=out / "run", **options)
divcon.status(out / "run", verify=True)
divcon.evaluate(out / "run", photos)
divcon.embed(out / "run", photos, out=out / "photos.parquet")
"""

CALLS = (
    "execve,execveat,socket,connect,bind,listen,accept,accept4,sendto,open,openat,openat2,creat,rename,renameat,unlink"
)
# Read by the C library, by Python or by torch to learn about the machine: no user's file is among them.
SYSTEM = re.compile(
    r"/(proc|sys)(/|$)|/dev/(null|urandom|shm|tty)|/etc/|/(usr/)?(local/)?lib(32|64|x32)?/|/usr/share/(locale|zoneinfo|mime)"
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Event(NamedTuple):
    """An act of a process: an audit event, its arguments, and for some the files of the code that led there."""

    name: str
    args: list[str | bytes | int]
    files: list[str]


class Watch:
    """A pipeline on the photos, under watch, with everything it makes below `work`."""

    def __init__(self, photos: Path, work: Path, options: Mapping[str, object]):
        self.work, self.numba = work, Path(os.environ.get("NUMBA_CACHE_DIR") or work / "numba")
        for name in ("hook", "out", "tmp", "home"):
            (work / name).mkdir(parents=True)
        (work / "hook" / "sitecustomize.py").write_text(HOOK)
        self.command = [sys.executable, "-P", "-c", PIPELINE, str(photos), str(work / "out"), json.dumps(options)]
        self.homes = {
            "data": [photos], "results": [work / "out"], "caches": [work / "cache", self.numba], "watch": [work / "log"],
            "temporary": [work / "tmp"], "interpreter": [*_interpreter(), ROOT / "divcon", ROOT / "divcon.egg-info", work / "hook"],
        }  # fmt: skip

    def environment(self) -> dict[str, str]:
        own = {
            "AUDIT_LOG": self.work / "log", "PYTHONPATH": f"{self.work / 'hook'}{os.pathsep}{ROOT}", "HOME": self.work / "home",
            "DIVCON_CACHE": self.work / "cache", "NUMBA_CACHE_DIR": self.numba, "TMPDIR": self.work / "tmp",
        }  # fmt: skip
        given = {
            key: value for key, value in os.environ.items() if not key.startswith("TORCH")
        }  # torch itself sets some
        return {**given, "PYTHONDONTWRITEBYTECODE": "1", **{name: str(value) for name, value in own.items()}}

    def events(self) -> list[Event]:
        """Run it, and read what was seen."""
        self._run(self.command)
        return [Event(*ast.literal_eval(line)) for line in (self.work / "log").read_text().splitlines()]

    def calls(self) -> list[str]:
        """Run it under strace: the system calls of all its processes that open, start or connect."""
        self._run(
            [
                "strace",
                "-f",
                "-y",
                "-qq",
                "-s",
                "4096",
                "-e",
                f"trace={CALLS}",
                "-o",
                str(self.work / "calls"),
                *self.command,
            ]
        )
        return (self.work / "calls").read_text(errors="backslashreplace").splitlines()

    def _run(self, command: Sequence[str]) -> None:
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, cwd=self.work / "home")
        if done.returncode:
            raise RuntimeError(done.stderr)

    def whose(self, path: str) -> str:
        """One of the homes, the system's, a folder's that is being removed, or elsewhere."""
        if "/" not in path and not (self.work / "home" / path).exists():
            return "folders that are removed"  # by a name below one that is open
        full = os.path.normpath(self.work / "home" / path)
        for name, folders in self.homes.items():
            if any(full == str(folder) or full.startswith(f"{folder}{os.sep}") for folder in folders):
                return name
        if any(folder.is_relative_to(full) for folders in self.homes.values() for folder in folders):
            return "folders above these"  # to go through them, or to have a name in them put on the disk
        return "system" if SYSTEM.match(full) else "elsewhere"


def _interpreter() -> set[Path]:
    """The folders of Python and its packages; a virtual environment may be a link."""
    given = {Path(sys.prefix), Path(sys.base_prefix), *(Path(path) for path in sys.path if "site-packages" in path)}
    return given | {path.resolve() for path in given}


def opened(events: Iterable[Event], *, to_write: bool) -> Counter[str]:
    """The paths that were opened, to be written or only read, and how often."""
    opens = (event.args for event in events if event.name == "open" and isinstance(event.args[0], str | bytes))
    return Counter(os.fsdecode(args[0]) for args in opens if bool(int(args[2]) & WRITING) == to_write)


def traced(calls: Iterable[str], names: str, *, to_write: bool | None = None, failed: bool = False) -> Counter[str]:
    """The objects of system calls, by the name of the call: for opens, by their purpose, the path; for others the first quoted
    argument."""
    found = Counter[str]()
    for line in calls:
        match = CALL.match(line)
        if match is None or not re.fullmatch(names, match["name"]) or (match["result"].startswith("-") and not failed):
            continue
        if to_write is None or bool(re.search("O_WRONLY|O_RDWR|O_CREAT", match["args"])) == to_write:
            place, quoted = PLACE.match(match["args"]), QUOTED.search(match["args"])
            name = quoted[1] if quoted else match["args"]
            found[os.path.normpath(f"{place[1]}/{name}") if place and not name.startswith("/") else name] += 1
    return found


PLACE = re.compile(r"(?:AT_FDCWD|\d+)<([^>]*)>, \"")
CALL = re.compile(r"\d+ +(?P<name>\w+)\((?P<args>.*)\) += (?P<result>-?\w+)")
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


def report(watch: Watch, read: Counter[str], written: Counter[str], others: Mapping[str, Counter[str]]) -> None:
    """Say how much was opened of whom, and what besides was done."""
    lines = []
    for kind, paths in (("read", read), ("written", written)):
        by_home = Counter[str]()
        for path, count in paths.items():
            by_home[watch.whose(path)] += count
        lines.append(f"{kind}: {', '.join(f'{home} {count:,}' for home, count in by_home.most_common())}")
        lines += [f"  elsewhere: {path}" for path in sorted(paths) if watch.whose(path) == "elsewhere"]
    for what, counts in others.items():
        lines.append(f"{what}: {sum(counts.values()):,}")
        lines += [f"  {count:,} x {name[:160]}" for name, count in counts.most_common()]
    sys.stdout.write("\n".join(lines) + "\n")


def by_python(watch: Watch) -> None:
    events = watch.events()
    other = Counter(event.name for event in events if event.name != "open" and not event.name.startswith("os."))
    started = Counter(str(event.args[1]) for event in events if event.name == "subprocess.Popen")
    unpickled = Counter(f"{event.args[0]}.{event.args[1]}" for event in events if event.name == "pickle.find_class")
    found = {"events but for opens": other, "started": started, "unpickled": unpickled}
    report(watch, opened(events, to_write=False), opened(events, to_write=True), found)


def by_kernel(watch: Watch) -> None:
    calls = watch.calls()
    found = {
        "started": traced(calls, "execve.*"),
        "network": traced(calls, "socket|connect|bind|listen|accept.*|sendto"),
    }
    opens = [traced(calls, "open.*|creat", to_write=to_write) for to_write in (False, True)]
    report(watch, *opens, found)


def main() -> None:
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from conftest import TINY

    from divcon.data.synthetic import make_collection

    if sys.argv[1:] == ["strace"] and shutil.which("strace") is None:
        sys.exit("strace is not there: apt-get install strace")
    with tempfile.TemporaryDirectory() as folder:
        photos = make_collection(Path(folder) / "photos", 160, size=32)
        watch = Watch(photos, Path(folder) / "work", {**TINY, "epochs": 2})
        (by_kernel if sys.argv[1:] == ["strace"] else by_python)(watch)


if __name__ == "__main__":
    main()
