"""Small disks: `make disks`. Mounts file systems in memory, which takes root, or a system that lets anyone be root of a
name space of its own.

    python tests/disks.py

For each size the whole of a run's folder and cache is on a disk of that size: refused beforehand or stopped in the middle,
with exit code 74; then the disk gets larger, and the same command ends in the bytes of a run that had room from the start.
Once more the disk is filled up by somebody else while the run is at work.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from conftest import TINY
from processes import Command, done
from test_pipeline import stable, training

from divcon.data.synthetic import make_collection

SIZES = ("300k", "2m", "6m")
ROOMY = "64m"
EPOCHS = 4


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def as_root() -> None:
    """Begin again as root of a name space, where only root may mount."""
    if os.geteuid() != 0:
        os.execvp("unshare", ["unshare", "--user", "--map-root-user", "--mount", sys.executable, *sys.argv])


def mount(folder: Path, size: str, *, again: bool = False) -> None:
    how = f"{'remount,' if again else ''}size={size}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", how, "tmpfs", str(folder)], check=True)


def words(photos: Path, disk: Path) -> list[str]:
    options = [f"{key}={value}" for key, value in {**TINY, "epochs": EPOCHS, "save_every": 0}.items()]
    return ["run", str(photos), f"out={disk / 'run'}", f"cache={disk / 'cache'}", *options]


def small(photos: Path, disk: Path, size: str, expected: dict[str, bytes]) -> None:
    mount(disk, size)
    try:
        code, said = done(words(photos, disk))
        line = said.splitlines()[-1]
        assert code == 74 and "Traceback" not in said, (code, said)
        mount(disk, ROOMY, again=True)
        code, said = done(words(photos, disk))
        assert code == 0 and stable(disk / "run") == expected, said
        say(f"{size}: {line}\n{' ' * len(size)}  with {ROOMY}: the same {len(expected)} files")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def filled(photos: Path, disk: Path, expected: dict[str, bytes]) -> None:
    """Somebody else takes all the room while the base is trained."""
    mount(disk, ROOMY)
    try:
        run = Command(words(photos, disk)).wait_for(training(disk / "run" / "base"))
        with (disk / "ballast").open("wb", buffering=0) as file:
            while run.process.exitcode is None:
                try:
                    file.write(b"\1" * 2**16)
                except OSError:
                    time.sleep(0.001)
        code, said = run.end()
        assert code == 74 and "Traceback" not in said, (code, said)
        (disk / "ballast").unlink()
        code, more = done(words(photos, disk))
        assert code == 0 and stable(disk / "run") == expected, more
        say(f"filled: {said.splitlines()[-1]}\n        with room: the same {len(expected)} files")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def main() -> None:
    as_root()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder, disk = Path(name), Path(name) / "disk"
        os.environ.setdefault("DIVCON_CACHE", f"{folder}/cache")
        disk.mkdir()
        photos = make_collection(folder / "photos", 160, size=32)
        code, said = done(words(photos, folder))
        assert code == 0, said
        for size in SIZES:
            small(photos, disk, size, stable(folder / "run"))
        filled(photos, disk, stable(folder / "run"))
    say(f"{time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main()
