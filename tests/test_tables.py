"""Tables that programs join by path list every readable file by its real name."""

import csv
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_labels import picture
from test_pipeline import typed

import divcon
from divcon.api.embed import EmbedAnswer
from divcon.clustering.clusters import Clusters
from divcon.data.images import open_images

NAMES = (
    # of screenshots, scripts and emoji
    "Screenshot 2026-05-12 at 4.42.48\u202fPM.png", "v\u00a013.05.05.png", "\u5199\u771f\u30001.png", "\U0001f468\u200d\U0001f469\u200d\U0001f467.png",
    "cafe\u0301.png", "caf\u00e9.png", "soft\u00adhyphen.png", "rtl\u200fmark.png", "a\\u202fb.png", "a\u202fb.png", "-minus.png", "=sum.png",
    # of downloads and other programs
    "two\nlines.png", "tab\there.png", "\x1b[31mred.png", "\ufeffmark.png", "\u202egnp.exe.png", "\ue000private.png", " .png", "\x7f.png",
)  # fmt: skip


def embedded(data: Path | str, out: Path) -> dict[str, list[object]]:
    divcon.embed("random:slim10_w8", data, out=out, workers=1)
    columns: dict[str, list[object]] = pq.read_table(out).to_pydict()
    return columns


def test_every_path_in_a_table_of_embeddings_is_that_of_its_file(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "pics"
    for i, name in enumerate(NAMES):
        picture(folder / name, i)
    columns = embedded(folder, tmp_path / "e.parquet")
    assert set(columns["path"]) == set(NAMES) and len(columns["path"]) == len(NAMES)
    assert [os.fsencode(str(path)) for path in columns["path"]] == columns["path_bytes"]


def test_a_name_that_is_no_text_is_there_as_bytes_and_no_other_files_path(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "pics"
    picture(folder / r"caf\xe9.png", 1)
    picture(folder / "odd.png", 2).rename(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png"))
    columns = embedded(folder, tmp_path / "e.parquet")
    assert dict(zip(columns["path_bytes"], columns["path"])) == {rb"caf\xe9.png": r"caf\xe9.png", b"caf\xe9.png": None}


def test_every_path_in_a_table_of_clusters_is_that_of_its_file(tmp_path: Path) -> None:
    names = [name.encode() for name in NAMES] + [b"caf\xe9.png"]
    n = len(names)
    clusters = Clusters(
        np.ones((1, 2), np.float32), np.zeros(n, np.int64), np.zeros(n, np.float32), lambda at: [names[i] for i in at]
    )
    clusters.save(tmp_path)
    columns = pq.read_table(tmp_path / "clusters.parquet").to_pydict()
    assert columns["path"] == [*NAMES, None] and columns["path_bytes"] == names
    assert Clusters.load(tmp_path).names(np.arange(n)) == names


READ_CLUSTERS = """
import os, sys
from pathlib import Path
import numpy as np
from divcon.clustering.clusters import Clusters

before = set(os.listdir("/proc/self/task"))
Clusters.load(Path(sys.argv[1])).names(np.arange(2))
print(len(set(os.listdir("/proc/self/task")) - before))
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux lists the threads of a process")
def test_reading_clusters_starts_no_thread_that_can_abort_the_process_at_its_end(tmp_path: Path) -> None:
    vectors, labels, distances = np.ones((1, 2), np.float32), np.zeros(2, np.int64), np.zeros(2, np.float32)
    Clusters(vectors, labels, distances, lambda at: [b"a.png", b"b.png"]).save(tmp_path)
    words = [sys.executable, "-c", READ_CLUSTERS, str(tmp_path)]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "0\n"


def test_lists_for_people_stay_safe_and_the_index_has_the_real_names(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "pics"
    picture(folder / "a.png", 1)
    shutil.copy(folder / "a.png", folder / "\x1b[31mred\u202f.png")
    open_images(folder, cache=cache).index.save(tmp_path)
    with (tmp_path / "duplicates.csv").open(newline="", encoding="utf-8") as file:
        (row,) = [row for row in csv.DictReader(file) if row["kind"] == "copy"]
    assert {row["path"], row["same_as"]} == {"a.png", r"\x1b[31mred\u202f.png"}
    with pa.memory_map(str(tmp_path / "index.arrow")) as mapped:
        real = pa.ipc.open_file(mapped).read_all()["path_bytes"].to_pylist()
    assert set(real) == {b"a.png", "\x1b[31mred\u202f.png".encode()}


def test_copies_have_rows_of_their_own_and_share_a_vector(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "pics"
    for i in range(4):
        picture(folder / f"item{i}.png", i)
    shutil.copy(folder / "item0.png", folder / "backup of item0.png")
    shutil.copytree(folder, folder / ".old", ignore=lambda at, names: [name for name in names if name != "item1.png"])
    os.link(folder / "item2.png", folder / "hard.png")
    (folder / "soft.png").symlink_to("item3.png")
    (folder / "broken.png").write_bytes(b"no picture")
    columns = embedded(folder, tmp_path / "e.parquet")
    rows = dict(zip(columns["path"], zip(columns["picture"], map(tuple, columns["embedding"]))))
    pairs = {"backup of item0": "item0", ".old/item1": "item1", "hard": "item2", "soft": "item3"}
    assert set(rows) == {f"{name}.png" for name in (*pairs, *pairs.values())} and len(set(rows.values())) == 4
    assert all(rows[f"{one}.png"] == rows[f"{other}.png"] for one, other in pairs.items())
    assert columns["picture"][:4] == list(range(4))


def test_a_picture_in_two_shards_has_a_row_for_each(tmp_path: Path, cache: Path) -> None:
    file = picture(tmp_path / "a.png", 1)
    other = picture(tmp_path / "b.png", 2)
    for shard, files in {"0.tar": [file], "1.tar": [file, other]}.items():
        with tarfile.open(tmp_path / shard, "w") as tar:
            for one in files:
                tar.add(one, one.name)
    columns = embedded(f"{tmp_path}/*.tar", tmp_path / "e.parquet")
    assert sorted(map(str, columns["path"])) == ["0.tar/a.png", "1.tar/a.png", "1.tar/b.png"]


def test_files_and_pictures_are_counted(tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "pics"
    for i in range(3):
        picture(folder / f"{i}.png", i)
    shutil.copy(folder / "0.png", folder / "again.png")
    out = tmp_path / "e.parquet"
    assert divcon.embed("random:slim10_w8", folder, out=out) == EmbedAnswer(str(out), files=4, pictures=3)
    line = ["embed", "random:slim10_w8", str(folder), f"out={out}"]
    assert typed(line) == 0
    assert "4 files, 1 of them copies, 3 pictures" in capsys.readouterr().out
    assert typed([*line, "exclude=again*", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"out": str(out), "files": 3, "pictures": 3}
    assert divcon.embed("random:slim10_w8", folder, out=out, include="1*").files == 1
