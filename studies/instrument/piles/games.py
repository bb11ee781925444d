"""Pictures of games: sprites, tiles, textures, portraits."""

import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from divcon.errors import InputError

from .sources import SUFFIXES, debian, images_of, place

WESNOTH = "usr/share/games/wesnoth/1.16/data/core/images"
HEDGEWARS = "usr/share/games/hedgewars/Data"
BLOCKS = "usr/share/games/minetest/games"

units = images_of("wesnoth-1.16-data", all=f"{WESNOTH}/units")
terrain = images_of("wesnoth-1.16-data", all=f"{WESNOTH}/terrain")
space = images_of("endless-sky-data", all="usr/share/games/endless-sky/images")
planets = images_of("freeorion-data", all="usr/share/games/freeorion/default/data/art")
hedgehogs = images_of("hedgewars-data", all=f"{HEDGEWARS}/Graphics", themes=f"{HEDGEWARS}/Themes")
penguins = images_of("pingus-data", all="usr/share/games/pingus/data/images")
cards = images_of("pokerth-data", all="usr/share/games/pokerth/gfx")


def blocks(folder: Path, work: Path) -> None:
    """Copy the textures of blocks; each module has a folder."""
    unpacked = debian("minetest-data", work)
    for source in sorted((unpacked / BLOCKS).glob("*/mods/**/textures/**/*")):
        if source.suffix.lower() in SUFFIXES and not source.is_symlink():
            parts = source.relative_to(unpacked / BLOCKS).parts
            module = parts[parts.index("textures") - 1]
            shutil.copyfile(source, place(folder / module / f"{parts[0]}-{source.name}"))
    shutil.rmtree(unpacked)


def textures(folder: Path, work: Path) -> None:
    """Copy the textures in formats that are read (most are JPEG), in their folders of the archive."""
    unpacked = debian("openarena-081-textures", work)
    (archive,) = unpacked.glob("usr/share/games/openarena/baseoa/*.pk3")
    with zipfile.ZipFile(archive) as files:
        for name in sorted(files.namelist()):
            path = PurePosixPath(name)
            if path.parts[0] == "textures" and path.suffix.lower() in SUFFIXES and ".." not in path.parts:
                place(folder / PurePosixPath(*path.parts[1:])).write_bytes(files.read(name))
    shutil.rmtree(unpacked)


def tiles(folder: Path, work: Path) -> None:
    """Copy the pictures of Crossfire out of the one file of its client, into the folders of their names."""
    unpacked = debian("crossfire-client-images", work)
    (archive,) = unpacked.glob("usr/share/games/crossfire-client/crossfire.base")
    for name, data in pictures(archive.read_bytes()):
        path = PurePosixPath(name)
        if path.parts[0] == "arch" and ".." not in path.parts:
            place(folder / PurePosixPath(*path.parts[1:-1]) / f"{path.name}.png").write_bytes(data)
    shutil.rmtree(unpacked)


def pictures(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the bytes of each picture. A line `IMAGE number length name`, or one without the number, precedes a PNG."""
    header, at = re.compile(rb"IMAGE (?:\d+ )?(\d+) (\S+)\n"), 0
    while at < len(data):
        found = header.match(data, at)
        if found is None:
            raise InputError(
                f"crossfire.base: no picture begins at byte {at:,}; another version of the package is needed"
            )
        at = found.end() + int(found[1])
        if at > len(data):
            raise InputError(
                f"crossfire.base ends within {found[2].decode('ascii')}; it was not unpacked whole: try again"
            )
        yield found[2].decode("ascii"), data[found.end() : at]
