"""The icons of four themes, and the emoji of two vendors: small drawings that their makers sorted."""

import json
import shutil
from pathlib import Path

from .pile import Make
from .sources import copy_images, debian, npm, place

SAME = {"mimes": "mimetypes"}  # contexts that two themes name differently
THEMES = {  # package: theme, and a pattern of its folders of 48x48 pixels below usr/share/icons
    "oxygen-icon-theme": ("oxygen", "oxygen/base/48x48/*"),
    "mate-icon-theme": ("mate", "mate/48x48/*"),
    "elementary-xfce-icon-theme": ("elementary", "elementary-xfce/*/48"),
    "faenza-icon-theme": ("faenza", "Faenza/*/48"),
}
EMOJI_VERSION = "16.0.0"


def icons(folder: Path, work: Path) -> None:
    """Make a folder for each theme, and in it one for each context; each icon in one size."""
    for package, (theme, pattern) in THEMES.items():
        unpacked = debian(package, work)
        for source in sorted(unpacked.glob(f"usr/share/icons/{pattern}")):
            context = source.parent.name if source.name == "48" else source.name
            if source.is_dir() and not source.is_symlink():
                copy_images(source, folder / theme / SAME.get(context, context))
        shutil.rmtree(unpacked)


def emoji_of(vendor: str) -> Make:
    """Make a folder for each category, and in it one for each subcategory, without the variations by skin tone."""

    def make(folder: Path, work: Path) -> None:
        package = npm(f"emoji-datasource-{vendor}", EMOJI_VERSION, work)
        for one in json.loads((package / "emoji.json").read_text()):
            source = package / "img" / vendor / "64" / one["image"]
            if source.is_file():
                shutil.copyfile(source, place(folder / one["category"] / one["subcategory"] / source.name))
        shutil.rmtree(package.parent)

    return make
