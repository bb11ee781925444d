"""A training that learns nothing is noticed, and one that learns is left alone."""

import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from test_methods import trained
from torch import Tensor

from divcon.methods.contract import Outcome, Step
from divcon.train.collapse import WARN_READINGS, CollapseMonitor, spread_and_effective_rank

LATE = Step(50, 100, 1)


def normal(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def said(
    outcome: Outcome, caplog: pytest.LogCaptureFixture, at: Step = LATE, times: int = 3 * WARN_READINGS
) -> list[str]:
    monitor = CollapseMonitor("base", "do this")
    with caplog.at_level(logging.WARNING, "divcon"):
        for _ in range(times):
            monitor.watch(outcome, float(outcome.loss), at)
    return [record.getMessage() for record in caplog.records]


def test_a_loss_at_chance_is_said_once_with_the_mend(caplog: pytest.LogCaptureFixture) -> None:
    (line,) = said(Outcome(torch.tensor(0.995 * math.log(64)), chance=math.log(64)), caplog)
    assert line == "base at step 50: its loss is still 99.5% of the loss of random guesses; do this"


def test_a_loss_below_chance_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    assert said(Outcome(torch.tensor(0.95 * math.log(64)), chance=math.log(64)), caplog) == []


def test_a_young_network_may_know_nothing_and_a_bad_moment_is_forgiven(caplog: pytest.LogCaptureFixture) -> None:
    degenerate = Outcome(torch.tensor(4.0), chance=4.0, features=torch.ones(32, 8))
    assert said(degenerate, caplog, Step(10, 100, 0)) == [] == said(degenerate, caplog, times=WARN_READINGS - 1)
    assert said(degenerate, caplog, Step(10, 20, 0)) == []  # half of a training of a few steps


def test_a_loss_that_has_no_chance_any_more_is_not_judged_by_what_it_was(caplog: pytest.LogCaptureFixture) -> None:
    monitor = CollapseMonitor("base", "do this")
    for _ in range(WARN_READINGS):
        monitor.watch(Outcome(torch.tensor(4.0), chance=4.0), 4.0, Step(10, 100, 0))
    monitor.watch(Outcome(torch.tensor(0.3)), 0.3, LATE)
    assert caplog.records == []


def test_a_point_and_a_line_are_noticed_and_a_cloud_is_not(caplog: pytest.LogCaptureFixture) -> None:
    point = torch.ones(64, 16) + 1e-3 * normal(64, 16)
    line = normal(64, 1) * torch.ones(64, 16) + 1e-3 * normal(64, 16)
    assert "nearly the same for all images" in said(Outcome(torch.tensor(1.0), features=point), caplog)[0]
    caplog.clear()
    assert "use only 1.0 dimensions" in said(Outcome(torch.tensor(1.0), features=line), caplog)[0]
    caplog.clear()
    assert said(Outcome(torch.tensor(1.0), features=normal(64, 16)), caplog) == []


def test_rank_is_that_of_the_shares_of_variance() -> None:
    x = normal(200, 6) * torch.tensor([5.0, 3, 1, 1, 0.1, 0.1])
    unit = (x / x.norm(dim=1, keepdim=True)).numpy()
    shares = PCA().fit(unit).explained_variance_ratio_
    spread, rank = spread_and_effective_rank(x)
    assert rank == pytest.approx(math.exp(-(shares * np.log(shares)).sum()), rel=1e-4)
    assert spread == pytest.approx(math.sqrt(unit.var(0).sum()), rel=1e-4)


def test_spread_and_rank_are_in_the_journal_of_a_training(tmp_path: Path) -> None:
    line = trained("moclr", tmp_path, 3)[-1]
    assert 0 < line["spread"] <= 1 <= line["effective_rank"]
