"""Four rules: no pickle is read, no archive is unpacked, no URL is fetched that was not typed, no port is opened. The files,
processes and connections of the whole pipeline are checked too (tests/audited.py)."""

import ast
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from audited import Event, Watch, opened, traced
from conftest import TINY
from packaging.requirements import Requirement

import divcon
from divcon.files.text import printable, printable_lines

PACKAGE = Path(divcon.__file__).parent
ROOT = PACKAGE.parent
FORBIDDEN = {
    "pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml", "zipfile", "lzma",
    "bz2", "gzip", "urllib", "http", "requests", "httpx", "ftplib", "smtplib", "socketserver", "xmlrpc", "webbrowser", "asyncio",
    "multiprocessing", "huggingface_hub",
}  # fmt: skip
CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.execv", "torch.load", "torch.jit.load", "torch.hub.load",
    "pd.read_pickle", "shutil.unpack_archive",
}  # fmt: skip
# the processes that decode; the demo's package manager; ranks whose speed is measured, and those that try stages for a plan
STARTING = {"data/index/worker_pool.py", "api/demo.py", "api/auto_ranks.py", "api/trials.py"}
TAR = "data/sources/tar.py"
SOCKETS = {"socket.gethostname"}  # this machine's name, for locks
# several ranks talk to each other; a process alone makes no socket, as the test below sees
RANKS = {f"dist/{name}.py" for name in ("interfaces", "meeting", "rendezvous", "shared_memory")}


def nodes() -> Iterator[tuple[str, ast.AST]]:
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            yield str(file.relative_to(PACKAGE)), node


def test_nothing_is_imported_that_unpickles_unpacks_or_fetches() -> None:
    found = set()
    for file, node in nodes():
        if isinstance(node, ast.Import):
            found |= {(file, alias.name.split(".")[0]) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((file, str(node.module).split(".")[0]))
    assert [pair for pair in sorted(found) if pair[1] in FORBIDDEN] == []
    assert {file for file, name in found if name == "subprocess"} == STARTING
    assert {file for file, name in found if name == "socket"} == {"runs/owner.py"} | RANKS
    assert {file for file, name in found if name == "tarfile"} == {TAR}


def test_of_the_library_for_tars_headers_are_read_and_nothing_else() -> None:
    names = {ast.unparse(node) for file, node in nodes() if file == TAR and isinstance(node, ast.Attribute)}
    used = {name for name in names if name.startswith("tarfile.") and not name.removeprefix("tarfile.").isupper()}
    assert used == {"tarfile.TarInfo", "tarfile.TarInfo.frombuf", "tarfile.HeaderError"}


def test_nothing_is_called_that_runs_text_or_unpickles() -> None:
    calls = [(file, ast.unparse(node.func), node) for file, node in nodes() if isinstance(node, ast.Call)]
    assert [(file, name) for file, name, _ in calls if name in CALLS] == []
    words = [(file, word.arg, ast.unparse(word.value)) for file, _, node in calls for word in node.keywords]
    assert [
        word for word in words if word[1:] in {("shell", "True"), ("allow_pickle", "True"), ("weights_only", "False")}
    ] == []
    assert {name for file, name, _ in calls if name.startswith("socket.") and file not in RANKS} == SOCKETS


@pytest.fixture(scope="module")
def watch(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Watch:
    return Watch(photos, tmp_path_factory.mktemp("watched") / "work", {**TINY, "epochs": 1})


@pytest.fixture(scope="module")
def events(watch: Watch) -> list[Event]:
    """The events of look, run, redo, status, evaluate and embed, in one process and its child processes."""
    return watch.events()


def test_the_watch_sees_what_it_should(events: list[Event], watch: Watch) -> None:
    read = opened(events, to_write=False)
    assert sum(watch.whose(path) == "data" for path in read) >= 160
    assert any(path.endswith("encoder.safetensors") for path in read | opened(events, to_write=True))
    assert any(event.name == "pickle.find_class" for event in events)  # numba's


def test_only_numba_unpickles_and_only_from_its_own_cache(events: list[Event]) -> None:
    found = [event for event in events if event.name == "pickle.find_class"]
    assert [event for event in found if not any("numba/core/" in file for file in event.files)] == []


def test_nothing_is_written_but_results_and_caches(events: list[Event], watch: Watch) -> None:
    homes = {path: watch.whose(path) for path in opened(events, to_write=True)}
    outside = {path for path, home in homes.items() if home not in ("results", "caches", "watch", "temporary")}
    assert outside - {os.devnull} == set()


def test_nothing_is_read_but_data_results_caches_and_the_interpreter(events: list[Event], watch: Watch) -> None:
    outside = {path for path in opened(events, to_write=False) if watch.whose(path) == "elsewhere"}
    assert outside == set()
    assert list((watch.work / "home").iterdir()) == []


def test_nothing_is_removed_or_renamed_outside(events: list[Event], watch: Watch) -> None:
    changing = (
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.mkdir",
        "os.link",
        "os.symlink",
        "os.truncate",
        "os.chmod",
        "shutil.rmtree",
    )
    paths = [
        os.fsdecode(arg)
        for event in events
        if event.name in changing
        for arg in event.args[:1]
        if isinstance(arg, str | bytes)
    ]
    assert paths and {path for path in paths if watch.whose(path) not in ("results", "caches", "temporary")} == set()


def test_only_the_processes_that_decode_are_started(events: list[Event]) -> None:
    started = [event for event in events if event.name == "subprocess.Popen"]
    others = [event for event in started if "'-P', '-m', 'divcon.data.index.decode_worker'" not in str(event.args[1])]
    # Python's own search for a library of the system
    assert len(others) < len(started)
    assert [event for event in others if not any(file.endswith("ctypes/util.py") for file in event.files)] == []
    assert not [
        event for event in events if event.name in ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.startfile")
    ]


def test_no_socket_is_made_and_no_url_asked_for(events: list[Event]) -> None:
    names = {
        event.name
        for event in events
        if event.name.startswith(("socket.", "urllib.", "http.", "ftplib.", "webbrowser."))
    }
    assert names <= SOCKETS


def test_no_archive_is_unpacked(events: list[Event]) -> None:
    assert not [event for event in events if event.name == "shutil.unpack_archive"]


def test_what_strace_says_is_read_right() -> None:
    """Lines as strace writes them; the whole pipeline under it is `make audit`."""
    lines = [
        '12 openat(AT_FDCWD</home>, "/data/a.jpg", O_RDONLY|O_CLOEXEC) = 3</data/a.jpg>',
        '12 openat(AT_FDCWD, "/run/x\\"y", O_WRONLY|O_CREAT, 0666) = 4',
        '12 openat(7</run/checkpoints>, "step-1", O_RDONLY|O_DIRECTORY) = 8</run/checkpoints/step-1>',
        '12 openat(AT_FDCWD, "/missing", O_RDONLY) = -1 ENOENT (No such file or directory)',
        '13 connect(3, {sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}, 110) = -1 ENOENT (No such file)',
        '13 execve("/usr/bin/python3", ["python3"], 0x7ffd /* 20 vars */) = 0',
        "14 socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = 5",
    ]
    assert set(traced(lines, "open.*", to_write=False)) == {"/data/a.jpg", "/run/checkpoints/step-1"}
    assert set(traced(lines, "open.*", to_write=True)) == {'/run/x\\"y'}
    assert set(traced(lines, "execve")) == {"/usr/bin/python3"}
    assert set(traced(lines, "socket|connect")) == {"AF_INET, SOCK_STREAM, IPPROTO_IP"}


@pytest.mark.parametrize(
    "name",
    [
        "<img src=x onerror=alert(1)>",
        "\x1b]0;owned\x07",
        "\x1b[2J",
        "a\rb",
        "\u202egpj.exe",
        "\x9b31m",
        "a\x00b",
        "\ud800",
        "\udcff",
    ],
)
def test_no_name_does_anything_to_a_terminal(name: str) -> None:
    for text in (printable(name), printable_lines(f"{name}\n{name}")):
        assert all(c.isprintable() or c == "\n" for c in text)
        text.encode()
    assert printable("naïve 写真 😀.jpg") == "naïve 写真 😀.jpg"


# The last release with a hole that can be reached from here; docs/promises.md names the advisories.
LAST_BAD = {
    "torch": "2.9.1", "pillow": "12.2.0", "pyarrow": "23.0.0", "jinja2": "3.1.5", "filelock": "3.20.0",
    "pytorch-lightning": "2.6.3", "setuptools": "78.1.0",
}  # fmt: skip


def requirements() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = [line for lines in project["project"]["optional-dependencies"].values() for line in lines]
    constraints = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    lines = *project["project"]["dependencies"], *project["build-system"]["requires"], *extras, *constraints
    found = [Requirement(line) for line in lines]
    return {requirement.name.replace("_", "-"): requirement for requirement in found}


@pytest.mark.parametrize(("name", "version"), LAST_BAD.items())
def test_a_release_with_a_known_hole_is_refused(name: str, version: str) -> None:
    assert version not in requirements()[name].specifier
    assert re.search(rf"\| {name} \|.*(CVE|GHSA)-", (ROOT / "docs/promises.md").read_text())


def test_every_dependency_has_a_floor() -> None:
    assert {name for name, requirement in requirements().items() if ">=" not in str(requirement.specifier)} == set()
