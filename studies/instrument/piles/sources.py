"""Packages of Debian and of npm, and the images in them. A source is a function that fills a folder, as a pile is made."""

import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from divcon.api import demo
from divcon.errors import InputError
from divcon.files.text import printable

from .pile import Make

SUFFIXES = {".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp"}
TIMEOUT = 600  # seconds for npm


def debian(package: str, work: Path) -> Path:
    """Download and unpack a package of Debian; return its folder, which the next call removes."""
    try:
        return demo.download_debian_package(package, work)
    except (subprocess.SubprocessError, OSError) as error:
        raise not_got(package, error, f"apt-get update && apt-get download {package}") from error


def npm(package: str, version: str, work: Path) -> Path:
    """Download and unpack a package of npm; return its folder. No script of the package is run."""
    wanted = f"{package}@{version}"
    work.mkdir(parents=True, exist_ok=True)
    words = ["npm", "pack", "--loglevel=error", "--ignore-scripts", wanted]
    try:
        done = subprocess.run(words, cwd=work, capture_output=True, text=True, timeout=TIMEOUT)
        if done.returncode != 0:
            raise subprocess.SubprocessError((done.stderr.strip().splitlines() or ["no package came"])[0])
        archive = work / done.stdout.split()[-1]
        folder = work / "npm"
        shutil.rmtree(folder, ignore_errors=True)
        with tarfile.open(archive) as files:
            files.extractall(folder, filter="data")
    except (subprocess.SubprocessError, OSError, tarfile.TarError, IndexError) as error:
        raise not_got(wanted, error, f"npm pack {wanted}") from error
    archive.unlink()
    return folder / "package"


def not_got(package: str, error: Exception, command: str) -> InputError:
    reason = printable(str(error).splitlines()[0] if str(error) else type(error).__name__)
    return InputError(
        f"{package} could not be got ({reason}), and a study takes nothing else in its place; to see why, type: {command}"
    )


def images_in(folder: Path) -> Iterator[PurePosixPath]:
    """Yield the paths of image files below a folder, in order. Suffixes tell them apart; links are left out."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.is_symlink():
            yield PurePosixPath(path.relative_to(folder))


def copy_images(source: Path, folder: Path) -> None:
    for path in images_in(source):
        place(folder / path)
        shutil.copyfile(source / path, folder / path)


def place(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def images_of(package: str, **parts: str) -> Make:
    """Return a source: the images of folders of a package of Debian. Each has a folder of the given name; that of the name
    `all` has none."""

    def make(folder: Path, work: Path) -> None:
        unpacked = debian(package, work)
        for name, where in parts.items():
            if not (unpacked / where).is_dir():
                raise InputError(f"{package}: there is no {where} in it; another version of the package is needed")
            copy_images(unpacked / where, folder if name == "all" else folder / name)
        shutil.rmtree(unpacked)

    return make
