"""The log of the ranks that a launcher has started: nothing is said twice, and no warning is lost that one host alone can give."""

import pytest

from divcon import dist, log
from divcon.cli.terminal import is_silent, show_log

SAID = ["base: done in 3 s", "warning: the cache is damaged\\x1b"]


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rank: int, local: int) -> list[str]:
    """The lines that such a rank writes for an information and a warning."""
    place = {"RANK": rank, "WORLD_SIZE": 8, "LOCAL_RANK": local, "MASTER_ADDR": "a", "MASTER_PORT": 1}
    for name, value in {"TORCHELASTIC_RUN_ID": "x", **place}.items():
        monkeypatch.setenv(name, str(value))
    assert is_silent() == (rank > 0)
    with show_log():
        log.info("base: done in 3 s")
        log.warning("the cache is damaged\x1b")
        log.progress("encoding", 1, 2)
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(("rank", "local", "expected"), [(0, 0, SAID), (3, 3, []), (4, 0, ["rank 4: " + SAID[1]])])
def test_the_first_rank_says_all_and_the_first_of_another_host_its_warnings(
    rank: int,
    local: int,
    expected: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(dist, "is_leader", lambda: rank == 0)
    assert said(monkeypatch, capsys, rank, local) == expected


def test_a_rank_that_leads_a_group_says_all_with_its_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dist, "is_leader", lambda: True)
    assert said(monkeypatch, capsys, 3, 3) == [f"rank 3: {line}" for line in SAID]
