"""Losses and optimizers against those that others wrote: lightly's and timm's."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import slow
import torch
import torch.nn.functional as F
from lightly.loss import NegativeCosineSimilarity, NTXentLoss
from test_losses import normal, slope_of
from timm.optim import Lars
from torch import Tensor, nn

from divcon.losses import cosine_regression, info_nce_of_queue, nt_xent
from divcon.train.optimizers import LARS

TEMPERATURES = [0.07, 0.1, 0.2, 1.0]


def assert_same(ours: Callable[[Tensor], Tensor], theirs: Callable[[Tensor], Tensor], at: Tensor) -> None:
    """Values and gradients."""
    torch.testing.assert_close(ours(at), theirs(at), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(slope_of(ours, at), slope_of(theirs, at), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_simclrs_loss_is_lightlys(temperature: float) -> None:
    a, b = 2 * normal(12, 16), normal(12, 16, seed=1)
    theirs = NTXentLoss(temperature)
    assert_same(lambda x: nt_xent(x, b, temperature), lambda x: theirs(x, b), a)
    assert_same(lambda x: nt_xent(a, x, temperature), lambda x: theirs(a, x), b)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_mocos_loss_is_lightlys_over_steps_that_fill_the_queue(temperature: float) -> None:
    theirs = NTXentLoss(temperature, memory_bank_size=(24, 8))
    queue = theirs.memory_bank.bank.clone()
    for step in range(5):
        query, key = 3 * normal(8, 8, seed=step), F.normalize(normal(8, 8, seed=step + 10))
        # a query without a gradient leaves lightly's queue as it was; two calls would write it twice
        expected = theirs(query, key)
        assert float(info_nce_of_queue(query, key, queue, temperature)) == pytest.approx(float(expected), rel=1e-5)
        asked = query.clone().requires_grad_()
        (slope,) = torch.autograd.grad(theirs(asked, key), asked)
        found = slope_of(partial(info_nce_of_queue, key=key, queue=queue, temperature=temperature), query)
        torch.testing.assert_close(found, slope, atol=1e-5, rtol=1e-5)
        queue[8 * (step % 3) : 8 * (step % 3 + 1)] = key
        torch.testing.assert_close(theirs.memory_bank.bank, queue)


def test_byols_loss_is_two_and_twice_lightlys_negative_cosine() -> None:
    guess, truth = 3 * normal(9, 16), normal(9, 16, seed=1)
    theirs = NegativeCosineSimilarity()
    assert_same(lambda g: cosine_regression(g, truth), lambda g: 2 + 2 * theirs(g, truth), guess)


SHAPES = [(4, 3), (2, 3, 3, 3), (5,), (1,)]


@pytest.mark.parametrize("spare", [True, False])
def test_lars_and_larc_are_timms_without_decay(spare: bool) -> None:
    """With decay they differ: timm, like apex, adds the norms of gradient and decay, and the papers take that of the sum.
    timm scales every tensor; so what is spared is not compared."""
    rng = np.random.default_rng(0)
    shapes = [shape for shape in SHAPES if len(shape) > 1 or not spare]
    begin = [torch.from_numpy(rng.normal(size=shape)) for shape in shapes]
    ours, theirs = ([nn.Parameter(x.clone()) for x in begin] for _ in range(2))
    one = LARS(ours, lr=0.0, adapt_all=not spare)
    other = Lars(theirs, lr=0.0, momentum=0.9, always_adapt=True, eps=0.0)
    for rate in (0.3, 4.8, 1.2, 0.1):
        for p, q in zip(ours, theirs):
            p.grad = torch.from_numpy(rng.normal(size=p.shape))
            q.grad = p.grad.clone()
        for optimizer in (one, other):
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
        for p, q, start in zip(ours, theirs, begin):
            torch.testing.assert_close(p.detach(), q.detach(), atol=1e-12, rtol=1e-10)
            assert not torch.equal(p.detach(), start)


def test_larc_is_the_loop_and_spares_no_tensor() -> None:
    rng = np.random.default_rng(1)
    parameters = [nn.Parameter(torch.from_numpy(rng.normal(size=shape))) for shape in [*SHAPES, (3, 2)]]
    with torch.no_grad():
        parameters[-1].zero_()
    expected = [(p.detach().numpy().copy(), np.zeros(p.shape)) for p in parameters]
    optimizer = LARS(parameters, lr=0.0, weight_decay=0.1, adapt_all=True)
    for rate in (0.0, 0.3, 4.8, 0.1):
        slopes = [rng.normal(size=p.shape) for p in parameters]
        for p, slope in zip(parameters, slopes):
            p.grad = torch.from_numpy(slope.copy())
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        expected = [slow.larc(p, buffer, g, rate, 0.1) for (p, buffer), g in zip(expected, slopes)]
        for p, (value, _) in zip(parameters, expected):
            np.testing.assert_allclose(p.detach().numpy(), value, rtol=1e-12)
