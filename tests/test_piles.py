"""The collections of the studies, made of small packages: the same bytes each time, the labels that the folders tell."""

import io
import json
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from divcon.errors import InputError
from studies.instrument import here, piles
from studies.instrument.piles import HEAP, HELD_OUT, PILES, SINGLE, first, games, heap, others, sources, themes
from studies.instrument.piles.pile import Make, leaf, second, top, two, within

DOCUMENT = Path(__file__).parents[1] / "docs" / "results" / "piles.md"
WESNOTH = "usr/share/games/wesnoth/1.16/data/core/images"

Packages = dict[str, dict[str, bytes]]  # the files of each package
Ship = Callable[[Packages], None]


def picture(seed: int, kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    Image.fromarray(pixels).save(written := io.BytesIO(), kind)
    return written.getvalue()


def lay(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        sources.place(folder / name).write_bytes(data)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def ship(monkeypatch: pytest.MonkeyPatch) -> Ship:
    """A way to say which packages Debian has."""

    def shipped(packages: Packages) -> None:
        def download(name: str, work: Path) -> Path:
            if name not in packages:
                raise subprocess.SubprocessError(f"Unable to locate package {name}")
            return lay(work / "unpacked.part", packages[name])

        monkeypatch.setattr("divcon.api.demo.download_debian_package", download)

    return shipped


def filled(make: Make, tmp_path: Path, name: str = "images") -> dict[str, bytes]:
    folder, work = tmp_path / name, tmp_path / "work"
    for path in (folder, work):
        path.mkdir(parents=True, exist_ok=True)
    make(folder, work)
    assert not (work / "unpacked.part").exists() and not (work / "npm").exists()
    return files_of(folder)


def test_a_pile_has_the_images_of_a_package_and_nothing_else(ship: Ship, tmp_path: Path) -> None:
    images = {"orcs/a.png": picture(0), "elves/x/b.PNG": picture(1), "c.jpeg": picture(2, "JPEG")}
    others_ = {f"{WESNOTH}/units/{name}": b"text" for name in ("README", "orcs/a.cfg", "d.svg")}
    within_units = {f"{WESNOTH}/units/{name}": data for name, data in images.items()}
    ship({"wesnoth-1.16-data": {**within_units, **others_, f"{WESNOTH}/icons/e.png": picture(3)}})
    assert filled(games.units, tmp_path) == images


def test_links_are_left_out_so_that_a_picture_has_one_name(tmp_path: Path) -> None:
    lay(tmp_path, {"a/1.png": picture(0)})
    (tmp_path / "a" / "2.png").symlink_to("1.png")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "dangling.png").symlink_to("nowhere.png")
    assert list(sources.images_in(tmp_path)) == [PurePosixPath("a/1.png")]


def test_images_come_in_one_order_whatever_that_of_the_folder(tmp_path: Path) -> None:
    names = [f"{i % 4}/{i * 37 % 50}.png" for i in range(50)]
    lay(tmp_path, dict.fromkeys(names, b""))
    assert list(sources.images_in(tmp_path)) == sorted(PurePosixPath(name) for name in names)


def test_a_package_that_cannot_be_got_is_named_with_the_command_that_tells_why(ship: Ship, tmp_path: Path) -> None:
    ship({})
    with pytest.raises(
        InputError, match=r"pingus-data could not be got \(Unable to locate.*apt-get download pingus-data"
    ):
        filled(games.penguins, tmp_path)


def test_a_package_without_the_expected_folder_is_named(ship: Ship, tmp_path: Path) -> None:
    ship({"tuxpaint-stamps-default": {"usr/share/elsewhere/a.png": picture(0)}})
    with pytest.raises(InputError, match="tuxpaint-stamps-default: there is no usr/share/tuxpaint/stamps in it"):
        filled(others.stamps, tmp_path)


def test_icons_are_of_one_size_with_one_name_for_a_context(ship: Ship, tmp_path: Path) -> None:
    share = "usr/share/icons"
    ship(
        {
            "oxygen-icon-theme": {
                f"{share}/oxygen/base/48x48/actions/go.png": picture(0),
                f"{share}/oxygen/base/16x16/actions/go.png": picture(1),
            },
            "mate-icon-theme": {f"{share}/mate/48x48/mimetypes/text.png": picture(2)},
            "elementary-xfce-icon-theme": {
                f"{share}/elementary-xfce/mimes/48/text.png": picture(3),
                f"{share}/elementary-xfce/mimes/96/text.png": picture(4),
                f"{share}/elementary-xfce-dark/mimes/48/text.png": picture(5),
            },
            "faenza-icon-theme": {f"{share}/Faenza/apps/48/clock.png": picture(6)},
        }
    )
    assert filled(themes.icons, tmp_path) == {
        "oxygen/actions/go.png": picture(0),
        "mate/mimetypes/text.png": picture(2),
        "elementary/mimetypes/text.png": picture(3),
        "faenza/apps/clock.png": picture(6),
    }


def test_blocks_are_sorted_by_module_and_two_games_may_have_one_name(ship: Ship, tmp_path: Path) -> None:
    mods = "usr/share/games/minetest/games/{}/mods"
    ship(
        {
            "minetest-data": {
                f"{mods.format('one')}/farming/textures/wheat.png": picture(0),
                f"{mods.format('two')}/set/farming/textures/crops/wheat.png": picture(1),
                f"{mods.format('one')}/farming/screenshot.png": picture(2),
            }
        }
    )
    assert filled(games.blocks, tmp_path) == {
        "farming/one-wheat.png": picture(0), "farming/two-wheat.png": picture(1)
    }  # fmt: skip


def test_textures_come_out_of_the_archive_and_stay_in_their_folder(ship: Ship, tmp_path: Path) -> None:
    with zipfile.ZipFile(written := io.BytesIO(), "w") as archive:
        for name in ("textures/wall/a.jpg", "textures/wall/b.tga", "env/c.jpg", "textures/../d.jpg", "textures/"):
            archive.writestr(name, picture(0, "JPEG"))
    ship({"openarena-081-textures": {"usr/share/games/openarena/baseoa/pak4.pk3": written.getvalue()}})
    assert filled(games.textures, tmp_path) == {"wall/a.jpg": picture(0, "JPEG")}
    assert not list(tmp_path.rglob("d.jpg"))


def crossfire(*named: tuple[str, bytes]) -> bytes:
    return b"".join(b"IMAGE %d %s\n%s" % (len(data), name.encode(), data) for name, data in named)


def test_tiles_are_the_pictures_of_the_one_file_in_folders_by_their_names(ship: Ship, tmp_path: Path) -> None:
    tricky = picture(1) + b"IMAGE 5 ./arch/wall/no.111\n"  # a picture may have the bytes of a header in it
    data = crossfire(
        ("./arch/wall/stone/a.111", picture(0)),
        ("./arch/monster/b.111", tricky),
        ("./editor/c.111", picture(2)),
        ("./arch/../d.111", picture(3)),
    )
    package = "usr/share/games/crossfire-client/crossfire.base"
    ship({"crossfire-client-images": {package: data}})
    assert filled(games.tiles, tmp_path) == {"wall/stone/a.111.png": picture(0), "monster/b.111.png": tricky}
    assert not list(tmp_path.rglob("d.111*"))
    ship({"crossfire-client-images": {package: data + b"?" + data}})
    with pytest.raises(InputError, match=f"no picture begins at byte {len(data):,}"):
        filled(games.tiles, tmp_path, "damaged")
    ship({"crossfire-client-images": {package: data[:-1]}})
    with pytest.raises(InputError, match=r"ends within \./arch/\.\./d\.111; it was not unpacked whole"):
        filled(games.tiles, tmp_path, "cut off")


def test_digits_are_those_of_scikit_learn(tmp_path: Path) -> None:
    made = filled(others.digits, tmp_path)
    data = load_digits()
    assert len(made) == len(data.images)
    for i in range(0, len(made), 100):
        pixels = np.asarray(Image.open(io.BytesIO(made[f"{data.target[i]}/{i:04}.bmp"])), np.float64)
        assert np.abs(pixels / 255 * 16 - data.images[i]).max() < 0.04


def pack_npm(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes] | None) -> None:
    """Let npm pack these files; None: let it fail."""

    def run(words: list[str], cwd: Path, **_: object) -> subprocess.CompletedProcess[str]:
        if files is None:
            return subprocess.CompletedProcess(words, 1, "", "npm error code ETARGET\nnpm error notarget\n")
        with tarfile.open(cwd / "one.tgz", "w:gz") as archive:
            for name, data in files.items():
                member = tarfile.TarInfo(f"package/{name}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        return subprocess.CompletedProcess(words, 0, "one.tgz\n", "")

    monkeypatch.setattr(subprocess, "run", run)


def test_a_package_of_npm_that_cannot_be_got_is_named_with_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_npm(monkeypatch, None)
    with pytest.raises(
        InputError,
        match=r"emoji-datasource-google@16.0.0 could not be got \(npm error code ETARGET\).*type: npm pack emoji-",
    ):
        filled(themes.emoji_of("google"), tmp_path)


def test_emoji_lie_by_category_and_those_without_a_picture_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cat = {"category": "Animals", "subcategory": "mammal", "image": "cat.png"}
    pack_npm(
        monkeypatch,
        {
            "emoji.json": json.dumps([cat, {**cat, "image": "missing.png"}]).encode(),
            "img/google/64/cat.png": picture(0),
            "img/google/64/cat-dark.png": picture(1),
            "img/google/sheets/all.png": picture(2),
        },
    )
    assert filled(themes.emoji_of("google"), tmp_path) == {"Animals/mammal/cat.png": picture(0)}


def drawn(tmp_path: Path, names: list[str], n: int) -> set[str]:
    folder = lay(tmp_path, {name: name.encode() for name in names})
    return {str(path) for path in heap.some(folder, "source", n)}


def test_the_heap_takes_the_same_images_whatever_else_lies_there(tmp_path: Path) -> None:
    names = [f"{i % 3}/{i}.png" for i in range(40)]
    taken = drawn(tmp_path / "a", names, 15)
    assert len(taken) == 15 and taken == drawn(tmp_path / "b", names[::-1], 15)
    rest = [name for name in names if name not in taken]
    assert drawn(tmp_path / "c", [*taken, *rest[:5]], 15) == taken  # those not taken are of no account
    assert drawn(tmp_path / "d", names, 100) == set(names)
    assert taken != set(sorted(names)[:15])


def test_the_heap_has_a_folder_a_source_with_the_asked_number_of_whole_images(tmp_path: Path) -> None:
    packages = {"x": {f"{i % 2}/{i}.png": picture(i) for i in range(9)}, "y": {"one.png": picture(50)}}

    def source(name: str) -> Make:
        return lambda folder, work: lay(folder, packages[name]) and None

    made = filled(heap.heap_of({name: source(name) for name in "xyz"}, {"x": 4, "y": 3}), tmp_path)
    assert [sum(path.startswith(name) for path in made) for name in ("x/", "y/")] == [4, 1] and len(made) == 5
    assert all(data == packages[path[0]][path[2:]] for path, data in made.items())
    assert not list((tmp_path / "work").rglob("*.png"))


def test_the_heap_is_scored_by_the_labels_of_its_sources_each_on_its_own_images() -> None:
    labels = PILES["heap"].labels
    assert PILES["heap"].apart and set(labels) == {name for name in HEAP if HEAP[name] >= piles.SCORED}
    inner = PurePosixPath("one/two/three.png")
    for name, class_of in labels.items():
        own = next(iter(SINGLE[name].labels.values()))
        assert class_of(name / inner) == own(inner)
        assert {other for other in labels if class_of(other / inner) is not None} <= {name}


def test_nothing_that_is_held_out_is_in_the_heap() -> None:
    assert len(HELD_OUT) >= 3 and not set(HELD_OUT) & set(HEAP)
    assert not {pile.make for pile in HELD_OUT.values()} & {SINGLE[name].make for name in HEAP}


def test_the_heap_has_many_sources_of_very_unequal_sizes() -> None:
    sizes = sorted(HEAP.values(), reverse=True)
    assert len(sizes) >= 15 and sum(sizes[:5]) > sum(sizes) / 2 and sizes[0] >= 40 * sizes[-1]


def test_labels_are_folders_of_one_level_or_of_two() -> None:
    deep, flat, alone = (PurePosixPath(path) for path in ("a/b/c/1.png", "a/1.png", "1.png"))
    assert [top(deep), second(deep), two(deep), leaf(deep)] == ["a", "b", "a/b", "a/b/c"]
    assert [top(flat), second(flat), two(flat), leaf(flat)] == ["a", None, "a", "a"]
    assert [top(alone), second(alone), two(alone), leaf(alone)] == [None] * 4
    assert [within("a")(path) for path in (deep, flat, alone)] == ["b", None, None]
    assert within("a", two)(deep) == "b/c" and within("b", two)(deep) is None
    solids = [PurePosixPath(f"{name}/1.png") for name in ("cgalpngtest", "opencsgtest", "openscad-camrot", "svgimport")]
    assert [others.renderer(path) for path in solids] == ["cgalpngtest", "opencsgtest", None, None]


def test_the_collections_that_rows_were_made_of_have_the_labels_they_had() -> None:
    assert PILES["openclipart"].make is first.clip_art and PILES["mixture"].make is first.mixture
    path = PurePosixPath("animals/birds/owl.png")
    assert [of(path) for of in PILES["openclipart"].labels.values()] == ["animals", "animals/birds"]
    assert [of("emoji" / path) for of in PILES["mixture"].labels.values()] == [None, "animals", None]
    assert PILES["mixture"].apart and list(PILES["made"].labels) == ["kind"]


def test_each_collection_is_in_the_document_with_its_license() -> None:
    rows = [line.split("|")[1:-1] for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]
    told = {row[0].strip().strip("`"): [cell.strip() for cell in row[1:]] for row in rows}
    assert set(told) == set(PILES) and all(all(cells) for cells in told.values())


def test_a_row_belongs_to_the_code_of_the_collections() -> None:
    assert all((here.ROOT / name).exists() for name in here.COUNTED)
    assert Path(piles.__file__).parent in [here.ROOT / name for name in here.COUNTED]
