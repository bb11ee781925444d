"""The command line: answers in JSON, exit codes, and errors that say what to type next."""

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY
from test_pipeline import command, finished, stable, typed

import divcon

HELP = """
import sys
from divcon.cli import main
sys.argv = ["divcon", "--help"]
try:
    main()
finally:
    print(sorted({"torch", "timm", "numba", "pyarrow", "numpy"} & set(sys.modules)), file=sys.stderr)
"""


def test_help_names_every_verb_and_imports_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    for verb in ["index", "look", "run", "status", "redo", "eval", "embed", "recipes", "methods", "encoders", "demo"]:
        assert f"\n  {verb} " in done.stdout


@pytest.mark.parametrize(("verb", "word"), [("compare", "RUN..."), ("neighbors", "IMAGE...")])
def test_help_shows_which_word_may_be_several(verb: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed([verb, "--help"]) == 0
    usage = capsys.readouterr().out.partition("\n\n")[0]
    assert word in usage


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(["--version"]) == 0
    assert capsys.readouterr().out == f"divcon {divcon.__version__}\n"


@pytest.fixture(scope="module")
def piles(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders that no training can use, each for another reason."""
    root = tmp_path_factory.mktemp("piles")
    for name in ("empty", "bad", "few", "foreign", "one-class/only"):
        (root / name).mkdir(parents=True)
    for i, path in enumerate(sorted(photos.glob("*/*"))[:15]):
        shutil.copy(path, root / "few" / f"{i}{path.suffix}")
        shutil.copy(path, root / "one-class" / "only")
    (root / "bad" / "a.jpg").write_text("no image")
    (root / "foreign" / "thesis.tex").write_text("precious")
    return root


def told(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Return the exit code of a command and its last line on stderr, which holds no traceback."""
    code = typed(words)
    out, err = capsys.readouterr()
    assert code == 0 or out == ""
    assert "Traceback" not in err
    return code, err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("word", "code", "said"),
    [
        ("epcohs=3", 64, "unknown option 'epcohs'; did you mean 'epochs'?"),
        ("base.lrr=3", 64, "unknown option 'base.lrr'; did you mean 'base.lr'?"),
        ("clusers.k=3", 64, "did you mean 'clusters.k'?"),
        ("base.options.temprature=1", 64, "did you mean 'temperature'?"),
        ("encoder=resnet5", 64, "there is no such encoder; did you mean resnet50"),
        ("recipe=dnk", 64, "unknown recipe 'dnk'; did you mean 'dnc'?"),
        ("method=moclrr", 64, "unknown method 'moclrr'; did you mean 'moclr'?"),
        ("views=bylo", 64, "views=bylo: there is byol"),
        ("epochs", 64, "options are typed key=value"),
        ("epochs=0", 64, "epochs=0"),
        ("epochs=many", 64, "epochs=many"),
        ("size=-3", 64, "size=-3"),
        ("size=big", 64, "size=big"),
        ("hidden=0", 64, "hidden=0"),
        ("limit=0", 64, "limit=0"),
        ("workers=many", 64, "workers=many"),
        ("workers=0", 64, "workers=0"),
        ("cache_gb=much", 64, "cache_gb=much"),
        ("save_every=often", 64, "save_every=often"),
        ("precision=fp8", 64, "precision=fp8"),
        ("device=cudaa", 64, "device=auto"),
        ("mean=0.5", 64, "mean=0.5"),
        ("clusters.k=0", 64, "clusters.k=0: at least 1"),
        ("clusters.layer=nose", 64, "clusters.layer=nose"),
        ("base.start=base", 64, "base.start=base"),
        ("clusters.k=161", 65, "clusters.k=161, but there are 160 different images; lower it"),
        ("limit=15", 65, "15 images are too few"),
        ("init=nowhere", 66, "init=nowhere"),
        ("base=nowhere", 66, "nowhere holds no encoder; name a finished run"),
        ("include=*.xyz", 66, "no images found"),
        ("base.lr=1e30", 70, "the weights were not moved"),
        ("base.options.temperature=0", 64, "greater than 0"),
    ],
)
def test_a_wrong_option_has_its_code_and_a_way_on(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str, code: int, said: str
) -> None:
    mine = [
        option for option in command(photos, tmp_path / "run") if option.partition("=")[0] != word.partition("=")[0]
    ]
    ended, line = told([*mine, word], capsys)
    assert (ended, said in line) == (code, True), (ended, line)
    assert not list(tmp_path.glob("run/*/stage.json"))


@pytest.mark.parametrize(
    ("data", "out", "code", "said"),
    [
        ("few", "run", 65, "15 images are too few to train on"),
        ("bad", "run", 65, "no image in"),
        ("empty", "run", 66, "no images found"),
        ("missing", "run", 66, "there is no folder"),
        ("bad/a.jpg", "run", 66, "name the folder that the images are in"),
        ("few", "foreign", 73, "holds something else than a run"),
        ("few", "bad/a.jpg", 73, "is a file"),
        ("few", "few/run", 64, "inside the collection"),
    ],
)  # fmt: skip
def test_a_folder_that_will_not_do_has_its_code_and_loses_nothing(
    piles: Path, cache: Path, capsys: pytest.CaptureFixture[str], data: str, out: str, code: int, said: str
) -> None:
    before = {path: path.read_bytes() for path in piles.rglob("*") if path.is_file()}
    ended, line = told(command(piles / data, piles / out), capsys)
    assert (ended, said in line) == (code, True), (ended, line)
    assert {path: path.read_bytes() for path in piles.rglob("*") if path.is_file()} == before
    assert not (piles / "run").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("run PHOTOS", 64, "out= is missing: say where to write, like out=runs/photos"),
        ("run", 64, "Missing argument"),
        ("rnu PHOTOS", 64, "Did you mean 'run'?"),
        ("run PHOTOS out=x --onlyy", 64, "--only"),
        ("look PHOTOS inclde=x", 64, "did you mean 'include'?"),
        ("look PHOTOS workers=many", 64, "workers=many"),
        ("look MISSING", 66, "there is no folder"),
        ("index MISSING", 66, "there is no folder"),
        ("status PHOTOS", 66, "is not a run"),
        ("status RUN verify=perhaps", 64, "verify=perhaps"),
        ("redo PHOTOS base", 66, "is not a run"),
        ("redo RUN bsae", 64, "has no stage 'bsae'; it has base, clusters, experts/0, experts/1, checks, student"),
        ("eval MISSING PHOTOS", 66, "holds no encoder; name a finished run"),
        ("eval RUN MISSING", 66, "there is no folder"),
        ("eval RUN ONE", 65, "at least two classes"),
        ("eval RUN PHOTOS tasks=knm", 64, "tasks=knm: unknown task 'knm'; did you mean 'knn'?"),
        ("eval RUN PHOTOS layer=nose", 64, "layer=nose"),
        ("eval RUN PHOTOS seed=x", 64, "seed=x"),
        ("eval random:slim11 PHOTOS", 64, "did you mean slim10"),
        ("embed RUN PHOTOS", 64, "out= is missing"),
        ("embed RUN PHOTOS out=x.csv", 64, "let the name end in .parquet"),
        ("embed RUN PHOTOS out=x.parquet cache_gb=much", 64, "cache_gb=much"),
    ],
)  # fmt: skip
def test_every_verb_refuses_with_its_code_and_a_way_on(
    photos: Path, piles: Path, capsys: pytest.CaptureFixture[str], words: str, code: int, said: str
) -> None:
    names = {"PHOTOS": photos, "RUN": finished(photos), "MISSING": piles / "missing", "ONE": piles / "one-class"}
    ended, line = told([str(names.get(word, word)) for word in words.split()], capsys)
    assert (ended, said in line) == (code, True), (ended, line)


def test_a_traceback_is_shown_to_who_asks(capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(["look", "nowhere", "--debug"]) == 66
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        ("look PHOTOS", {"found", "used", "duplicates", "rejected", "reasons"}),
        ("index PHOTOS", {"used", "fingerprint"}),
        ("run PHOTOS out=RUN OPTIONS", {"run", "did", "done"}),
        ("run PHOTOS out=NEW --plan OPTIONS", {"images", "stages", "seconds", "disk_mb", "free_mb"}),
        ("status RUN", {"images", "stages"}),
        ("status RUN verify=true", {"images", "stages", "damaged"}),
        ("redo COPY student", {"removed"}),
        ("eval RUN PHOTOS", {"model", "images", "classes", "split_seed", "dropped_classes", "knn", "linear"}),
        ("embed RUN PHOTOS out=NEW.parquet", {"out", "files", "pictures"}),
        ("recipes", {"dnc", "dnc_1000", "dnc_3000", "dnc_4500", "moclr", "simclr"}),
        ("methods", {"moclr", "simclr"}),
        ("encoders", {"slim10", "resnet50"}),
        ("demo data=PHOTOS out=NEW ONCE", {"scores", "clusters", "pretrained_on", "train", "test"}),
    ],
)  # fmt: skip
def test_json_is_one_object_on_stdout_and_all_else_is_on_stderr(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, keys: set[str]
) -> None:
    if "COPY" in words:
        shutil.copytree(finished(photos), tmp_path / "copy")
    names = {"PHOTOS": photos, "RUN": finished(photos), "NEW": tmp_path / "new", "COPY": tmp_path / "copy"}
    spelled = " ".join(words.split())
    for name, path in names.items():
        spelled = spelled.replace(name, str(path))
    options = command(photos, tmp_path)[3:]
    once = [f"{key}={value}" for key, value in {**TINY, "epochs": 1}.items()]
    line = [part for word in spelled.split() for part in {"OPTIONS": options, "ONCE": once}.get(word, [word])]
    assert typed([*line, "--json"]) == 0
    out = capsys.readouterr().out
    answer: dict[str, Any] = json.loads(out)
    assert keys <= set(answer)
    assert out.count("\n") == 1


def test_words_are_for_people(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = {}
    for verb in ("look", "status", "recipes"):
        assert typed([verb, *{"look": [str(photos)], "status": [str(finished(photos))]}.get(verb, [])]) == 0
        said[verb] = capsys.readouterr().out
    assert "found 160: used 160, duplicates 0, rejected 0" in said["look"]
    assert "student" in said["status"] and "100%" in said["status"]
    assert "what DnC has to beat" in said["recipes"]


def test_a_damaged_run_is_reported_with_its_code(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(finished(photos), tmp_path / "run")
    (run / "base" / "encoder.json").write_text("{}")
    assert typed(["status", str(run), "verify=true", "--json"]) == 65
    out, err = capsys.readouterr()
    assert len(json.loads(out)["damaged"]) == 1
    assert "base/encoder.json" in err and "divcon redo" in err


def test_a_full_disk_has_its_code_and_the_run_goes_on_once_there_is_room(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A limit of 100 kB for each file looks like a full disk to the writer of the weights."""
    expected = stable(finished(photos))
    words = command(photos, tmp_path / "run", "--only", "base")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        code, line = told(words, capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 74 and "make room, then type the same command again" in line
    assert divcon.status(tmp_path / "run").stages["base"].state == "failed"
    assert typed(words) == 0
    assert (tmp_path / "run/base/encoder.safetensors").read_bytes() == expected["base/encoder.safetensors"]
