"""The report of a run: its numbers are those of the records, and no name of a file becomes a part of the page."""

import base64
import hashlib
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import TINY
from PIL import Image, ImageFilter

import divcon
from divcon.api import report as report_verb
from divcon.api.behavior import behavior_of, wants_report
from divcon.errors import DamagedError
from divcon.files.integrity import read_json, sha256, write_json
from divcon.reports.facts import read_run
from divcon.reports.kept import RECORD, load_kept
from divcon.reports.sections import summary
from divcon.runs.expert_scores import ClusterScores
from divcon.runs.folder import REPORT, REPORT_FOLDER
from divcon.runs.records import RunRecord

VOID = {"meta", "img", "br", "input", "link", "hr", "path", "use"}
MARKUP = (
    b"<script>alert(1)</script>.png",  # a folder "<script>alert(1)<" and a file in it
    b'"><img src=x onerror=alert(1)>.png',
    b"two\nlines\r.png",
    "turned \u202egnp.exe.png".encode(),
    b"not utf-8 \xff\xfe.png",
    "line separator \u2028 and {{ 7 * 7 }} ${7} $x^2$.png".encode(),
    b"a' onmouseover='alert(1).png",
)


@dataclass
class Element:
    """An element of a page, with its text and that of the elements in it."""

    tag: str
    attributes: dict[str, str | None]
    parent: "Element | None" = None
    children: list["Element"] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def all(self, tag: str) -> Iterator["Element"]:
        for child in self.children:
            if child.tag == tag:
                yield child
            yield from child.all(tag)


class PageParser(HTMLParser):
    """Reads a page into elements."""

    def __init__(self) -> None:
        super().__init__()
        self.root = self.now = Element("", {})

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs), self.now)
        self.now.children.append(element)
        if tag not in VOID:
            self.now = element

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.now.children.append(Element(tag, dict(attrs), self.now))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.now.tag == tag, f"</{tag}> ends <{self.now.tag}>"
        assert self.now.parent is not None
        self.now = self.now.parent

    def handle_data(self, data: str) -> None:
        element: Element | None = self.now
        while element is not None:
            element.parts.append(data)
            element = element.parent


def read_page(file: Path) -> Element:
    """Return a page; every element of it ends, and none ends inside another."""
    parser = PageParser()
    parser.feed(file.read_text(encoding="utf-8"))
    parser.close()
    assert parser.now is parser.root
    return parser.root


def table(page: Element, caption: str) -> dict[str, list[str]]:
    """Return the table with this caption: the cells of each row by the first of them."""
    (found,) = (each for each in page.all("table") if any(c.text == caption for c in each.all("caption")))
    (body,) = found.all("tbody")
    rows = [[cell.text for cell in row.children if cell.tag in ("th", "td")] for row in body.all("tr")]
    return {row[0]: row[1:] for row in rows}


def save(picture: np.ndarray, folder: Path, name: bytes) -> None:
    path = folder / os.fsdecode(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as opened:
        Image.fromarray(picture).save(opened, "PNG")


@pytest.fixture(scope="module")
def hostile(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made pictures with hostile names among them, a copy, one that looks like another, and odd ones."""
    folder = shutil.copytree(photos, tmp_path_factory.mktemp("hostile") / "images")
    rng = np.random.default_rng(0)
    for name in MARKUP:
        save(rng.integers(0, 255, (40, 40, 3), np.uint8), folder, b"<b>" + name)
    first = next(iter(sorted(folder.rglob("*.jpg"))))
    shutil.copy(first, folder / "copy.jpg")
    picture = Image.open(first).convert("RGB")
    picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.BICUBIC).save(folder / "near.png")
    save(rng.integers(0, 12, (40, 40, 3), np.uint8), folder, b"dark.png")
    save(rng.integers(120, 124, (40, 40, 3), np.uint8), folder, b"blank.png")
    noise = Image.fromarray(rng.integers(0, 255, (120, 120, 3), np.uint8))
    noise.resize((8, 8)).resize((120, 120), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(6)).save(
        folder / "blurred.png"
    )
    (folder / "text.jpg").write_text("<i>no image</i>")
    return folder


@pytest.fixture(scope="module")
def reported(hostile: Path) -> Path:
    """A finished run of these, with its report; not to be changed."""
    options = {**TINY, "clusters.smallest": 8}
    ran = divcon.run(hostile, out=hostile.parent / "run", epochs=1, report=True, **options)
    assert ran.done
    return ran.folder


@pytest.fixture
def copied(reported: Path, tmp_path: Path) -> Path:
    return shutil.copytree(reported, tmp_path / "run")


@pytest.fixture(scope="module")
def page(reported: Path) -> Element:
    return read_page(reported / REPORT)


def test_the_tables_have_the_numbers_of_the_records(reported: Path, page: Element) -> None:
    stages = table(page, "Seconds of each stage")
    for name in ("base", "clusters", "experts/0", "experts/1", "checks", "student"):
        record = json.loads((reported / name / "stage.json").read_text())
        assert stages[name][0] == "done" and stages[name][2] == f"{record['seconds']:,.1f}"
        assert stages[name][3] == f"{record['summary'].get('images_seen', '-')}"
    labels = pq.read_table(reported / "clusters/clusters.parquet")["label"].to_numpy()
    assert [row[0] for row in table(page, "Images of each cluster").values()] == [str(n) for n in np.bincount(labels)]
    scores = json.loads((reported / "checks/expert_scores.json").read_text())
    shown = table(page, "Agreement on the expert's own cluster")
    assert {key: row[1:3] for key, row in shown.items()} == {
        str(row["cluster"]): [f"{row['base']:.3f}", f"{row['expert']:.3f}"] for row in scores
    }
    lines = [json.loads(line) for line in (reported / "student/metrics.jsonl").read_text().splitlines()]
    assert table(page, "student: loss")["student"] == [str(lines[-1]["step"]), f"{lines[-1]['loss']:.3f}"]


def test_the_collection_is_counted_as_look_counts_it(hostile: Path, page: Element) -> None:
    look = divcon.look(hostile)
    files = table(page, "Files")
    assert [files[name] for name in ("found", "used", "duplicates", "rejected")] == [
        [str(n)] for n in (look.found, look.used, look.duplicates, look.rejected)
    ]
    assert table(page, "Rejected files by reason") == {reason: [str(n)] for reason, n in look.reasons.items()}
    assert table(page, "Examples of rejected files")["text.jpg"][0] in look.reasons


def test_planted_pictures_are_found_as_odd_or_as_duplicates(page: Element) -> None:
    def shown(title: str) -> str:
        (section,) = (each for each in page.all("section") if each.attributes.get("id") == title)
        return section.text

    assert all(name in shown("odd") for name in ("dark.png", "blank.png", "blurred.png", "Far from all others"))
    assert "copy.jpg" in shown("copies") and "near.png" in shown("near")


def test_no_name_of_a_file_becomes_markup(page: Element, reported: Path) -> None:
    text = (reported / REPORT).read_text(encoding="utf-8")
    assert not any(c in text for c in "\u202e\u2028\ufffd\r")
    assert len([*page.all("script")]) == 2 and not [*page.all("b")]
    for shown in ("onerror=alert(1)", r"two\nlines\r", r"turned \u202egnp", r"not utf-8 \xff\xfe", "{{ 7 * 7 }}"):
        assert shown in page.text, shown


def test_every_attribute_that_could_run_is_absent(page: Element) -> None:
    def walk(element: Element) -> Iterator[Element]:
        for child in element.children:
            yield child
            yield from walk(child)

    elements = [*walk(page)]
    assert len(elements) > 500
    assert not [name for each in elements for name in each.attributes if name.startswith("on")]
    assert not [each.tag for each in elements if each.tag in ("iframe", "object", "embed", "form", "base", "link")]
    addresses = [
        each.attributes[name] or ""
        for each in elements
        for name in ("src", "href", "xlink:href")
        if name in each.attributes
    ]
    assert all(address.startswith(("data:image/webp;", "#")) for address in addresses)


def test_the_policy_allows_the_script_of_the_page_and_no_other(page: Element) -> None:
    (policy,) = (each.attributes["content"] or "" for each in page.all("meta") if "http-equiv" in each.attributes)
    scripts = [each for each in page.all("script") if each.attributes.get("type") != "application/json"]
    digest = base64.b64encode(hashlib.sha256(scripts[0].text.encode()).digest()).decode()
    assert len(scripts) == 1 and f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy and "http" not in policy


def test_the_page_can_be_read_without_seeing_it(page: Element) -> None:
    ids = [
        each.attributes["id"]
        for tag in ("section", "h1", "h2", "h3", "h4", "g", "path", "title", "use", "canvas")
        for each in page.all(tag)
        if "id" in each.attributes
    ]
    assert len(ids) == len(set(ids))
    named = [
        each.attributes["aria-labelledby"]
        for tag in ("section", "svg")
        for each in page.all(tag)
        if "aria-labelledby" in each.attributes
    ]
    assert len(named) > 10 and set(named) <= set(ids)
    assert all(each.attributes.get("alt") is not None for each in page.all("img"))
    levels = [int(tag[1]) for tag in re.findall(r"<(h[1-6])\b", _markup(page))]
    assert levels[0] == 1 and levels.count(1) == 1 and all(b - a <= 1 for a, b in itertools.pairwise(levels))
    figures = [*page.all("figure")]
    assert len(figures) >= 8 and all([*each.all("svg")] and [*each.all("table")] for each in figures)


def _markup(element: Element) -> str:
    return "".join(f"<{child.tag}>{_markup(child)}" for child in element.children)


def test_the_summary_has_five_lines_and_says_that_the_run_is_done(page: Element) -> None:
    (lines_of_it,) = (each for each in page.all("section") if each.attributes.get("id") == "summary")
    lines = [each.text for each in lines_of_it.all("dd")]
    assert len(lines) == 5 and "6 of 6 stages done" in lines[0] and "effective rank" in lines[4]
    verdicts = {badge.text for badge in lines_of_it.all("span") if badge.attributes.get("class") == "verdict"}
    assert verdicts <= {"ok", "look at this", "missing"}, "a report does not know what is good"


@pytest.mark.parametrize(("better", "verdict"), [(0, "look"), (2, "look"), (3, "ok"), (4, "ok")])
def test_clusters_are_ok_only_if_more_than_half_of_the_experts_are_better(
    copied: Path, monkeypatch: pytest.MonkeyPatch, better: int, verdict: str
) -> None:
    rows = [ClusterScores(cluster=i, images=9, base=0.5, expert=0.6 if i < better else 0.5) for i in range(4)]
    monkeypatch.setattr(summary, "expert_rows", lambda facts: rows)
    kept = load_kept(copied)
    assert kept is not None
    kept = replace(kept, record=replace(kept.record, cluster_sizes=[30, 40]))
    assert summary.summary_lines(read_run(copied), kept)[3].verdict == verdict


def test_the_same_run_gives_the_same_bytes(copied: Path) -> None:
    before = (copied / REPORT).read_bytes()
    divcon.report(copied)
    assert (copied / REPORT).read_bytes() == before


def test_what_was_kept_is_shown_where_the_images_are_not(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise AssertionError("the images are not read again")

    monkeypatch.setattr(report_verb, "open_run_images", gone)
    (copied / REPORT).unlink()
    divcon.report(copied)
    assert len([*read_page(copied / REPORT).all("img")]) > 50


def test_without_images_and_without_what_was_kept_the_page_says_so(copied: Path) -> None:
    record = json.loads((copied / "run.json").read_text())
    shutil.rmtree(copied / REPORT_FOLDER)

    replace(RunRecord.read(copied), data=["/nowhere"]).write(copied)
    divcon.report(copied)
    page = read_page(copied / REPORT)
    assert not [*page.all("img")] and not (copied / REPORT_FOLDER).exists()
    assert "There are no pictures on this page" in page.text and "data=FOLDER" in page.text
    assert table(page, "Files")["used"] == [str(record["used"])]
    assert "distance 0." in page.text  # the galleries name their images


def test_an_unfinished_run_has_a_report_that_says_what_is_missing(copied: Path) -> None:
    divcon.redo(copied, "experts")
    assert not (copied / REPORT).exists() and not (copied / REPORT_FOLDER).exists()
    divcon.report(copied)
    page = read_page(copied / REPORT)
    assert "The run is not finished" in page.text and "experts/0 is waiting" in page.text
    assert "by the encoder of base" in page.text


def test_a_damaged_sample_is_collected_again(copied: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = copied / REPORT_FOLDER / "features.npy"
    file.write_bytes(file.read_bytes()[:-8] + b"\x00" * 8)
    with pytest.raises(DamagedError, match="features"):
        load_kept(copied)
    divcon.report(copied)
    assert "collects it again" in caplog.text and load_kept(copied) is not None


def test_a_sample_of_another_state_of_the_run_is_not_shown(copied: Path) -> None:
    kept = load_kept(copied)
    assert kept is not None and report_verb._kept(report_verb.read_run(copied)) is not None
    stage = copied / "checks/stage.json"
    stage.unlink()
    assert report_verb._kept(report_verb.read_run(copied)) is None


def test_a_run_without_clusters_divides_its_sample(photos: Path, tmp_path: Path) -> None:
    options = {key: value for key, value in TINY.items() if not key.startswith("clusters.")}
    ran = divcon.run(photos, out=tmp_path / "run", recipe="simclr", epochs=1, report=True, **options)
    page = read_page(ran.folder / REPORT)
    assert "No stage of this recipe divides the collection" in page.text
    sizes = [int(row[0]) for row in table(page, "Images of the sample in each cluster").values()]
    assert sum(sizes) == 160 and len(sizes) > 1 and sizes == sorted(sizes, reverse=True)


def test_a_report_that_fails_is_a_warning_of_a_run_that_is_done(
    hostile: Path, copied: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(report_verb, "_write", broken)
    divcon.redo(copied, "student")
    options = {**TINY, "clusters.smallest": 8}
    ran = divcon.run(hostile, out=copied, epochs=1, report=True, **options)
    assert ran.done and "divcon report" in caplog.text and "by nothing" in caplog.text


@pytest.mark.parametrize(
    ("variable", "typed", "made"), [("0", None, False), ("1", None, True), ("0", True, True), ("1", False, False)]
)
def test_a_report_can_be_switched_off(
    variable: str, typed: bool | None, made: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIVCON_REPORT", variable)
    assert wants_report(behavior_of({} if typed is None else {"report": typed})) is made


def test_scores_that_the_run_keeps_are_shown(copied: Path, photos: Path) -> None:
    scores = divcon.evaluate(copied, photos, tasks=("knn", "rankme"))
    divcon.report(copied)
    page = read_page(copied / REPORT)
    assert scores.knn is not None
    row = table(page, "Scores on labeled images")["student"]
    assert row[3] == f"{scores.knn.top1:.1%}" and row[-1] == f"rankme {scores.tasks['rankme'].score:.1%}"


def test_the_record_of_a_stranger_is_checked(copied: Path) -> None:
    file = copied / REPORT_FOLDER / RECORD
    record = read_json(file)
    np.save(copied / REPORT_FOLDER / "clusters.npy", np.full(len(record["paths"]), 99))
    record["sha256"]["clusters.npy"] = sha256(copied / REPORT_FOLDER / "clusters.npy")
    write_json(file, record)
    with pytest.raises(DamagedError, match="clusters"):
        load_kept(copied)
