"""The losses against loops written from their formulas, values and gradients."""

from collections.abc import Callable

import numpy as np
import pytest
import slow
import torch
import torch.nn.functional as F
from torch import Tensor

from divcon.losses import cosine_regression, info_nce, info_nce_of_queue, nt_xent, regression

TEMPERATURES = [0.1, 0.2, 1.0]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def slope_of(loss: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    at = at.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(at), at)
    return found


def close(found: Tensor, expected: slow.Array) -> bool:
    return np.allclose(found.double().numpy(), expected, rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_info_nce_is_the_loop(temperature: float) -> None:
    query, key = normal(7, 4), normal(7, 4, seed=1)
    expected = slow.info_nce(query.double().numpy(), key.double().numpy(), temperature)
    assert float(info_nce(query, key, temperature)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_the_gradient_of_info_nce_is_that_of_the_loop(temperature: float) -> None:
    query, key = normal(5, 3), normal(5, 3, seed=1)
    expected = slow.gradient(lambda q: slow.info_nce(q, key.double().numpy(), temperature), query.double().numpy())
    assert close(slope_of(lambda q: info_nce(q, key, temperature), query), expected)


def test_no_gradient_of_info_nce_reaches_the_keys() -> None:
    query, key = normal(5, 3).requires_grad_(), normal(5, 3, seed=1).requires_grad_()
    info_nce(query, key, 0.1).backward()
    assert key.grad is None and query.grad is not None


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_info_nce_of_a_queue_is_the_loop_and_so_is_its_gradient(temperature: float) -> None:
    query, key, queue = normal(5, 3), F.normalize(normal(5, 3, seed=1)), F.normalize(normal(9, 3, seed=2))
    k, n = key.double().numpy(), queue.double().numpy()
    expected = slow.info_nce_of_queue(query.double().numpy(), k, n, temperature)
    assert float(info_nce_of_queue(query, key, queue, temperature)) == pytest.approx(expected, rel=1e-5)
    slope = slow.gradient(lambda q: slow.info_nce_of_queue(q, k, n, temperature), query.double().numpy())
    assert close(slope_of(lambda q: info_nce_of_queue(q, key, queue, temperature), query), slope)


def test_byols_loss_is_the_loop_and_so_is_its_gradient() -> None:
    guess, truth = normal(5, 3), normal(5, 3, seed=1)
    t = truth.double().numpy()
    assert float(cosine_regression(guess, truth)) == pytest.approx(
        slow.cosine_regression(guess.double().numpy(), t), rel=1e-5
    )
    slope = slow.gradient(lambda g: slow.cosine_regression(g, t), guess.double().numpy())
    assert close(slope_of(lambda g: cosine_regression(g, truth), guess), slope)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_nt_xent_is_the_loop(temperature: float) -> None:
    a, b = normal(6, 4), normal(6, 4, seed=1)
    expected = slow.nt_xent(a.double().numpy(), b.double().numpy(), temperature)
    assert float(nt_xent(a, b, temperature)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_the_gradients_of_nt_xent_are_those_of_the_loop_for_both_views(temperature: float) -> None:
    a, b = normal(5, 3), normal(5, 3, seed=1)
    x, y = a.double().numpy(), b.double().numpy()
    by_a = slow.gradient(lambda u: slow.nt_xent(u, y, temperature), x)
    by_b = slow.gradient(lambda u: slow.nt_xent(x, u, temperature), y)
    assert close(slope_of(lambda u: nt_xent(u, b, temperature), a), by_a)
    assert close(slope_of(lambda u: nt_xent(a, u, temperature), b), by_b)


def test_regression_is_the_loop_and_so_is_its_gradient() -> None:
    guess, truth = normal(6, 5), 3 * normal(6, 5, seed=1)
    g, t = guess.double().numpy(), truth.double().numpy()
    assert float(regression(guess, truth)) == pytest.approx(slow.regression(g, t), rel=1e-5)
    assert close(slope_of(lambda u: regression(u, truth), guess), slow.gradient(lambda u: slow.regression(u, t), g))


@pytest.mark.parametrize("loss", [lambda a, b: info_nce(a, b, 0.01), lambda a, b: nt_xent(a, b, 0.01)])
def test_a_low_temperature_does_not_overflow(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    a, b = normal(6, 4), normal(6, 4, seed=1)
    slope = slope_of(lambda u: loss(u, b), a)
    assert torch.isfinite(loss(a, b)) and torch.isfinite(slope).all() and slope.abs().max() > 0


@pytest.mark.parametrize("loss", [info_nce, nt_xent])
def test_lengths_do_not_matter_to_a_cosine(loss: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    a, b = normal(6, 4), normal(6, 4, seed=1)
    torch.testing.assert_close(loss(a * torch.arange(1.0, 7.0)[:, None], 7 * b, 0.2), loss(a, b, 0.2))


@pytest.mark.parametrize(
    "loss", [lambda a, b: info_nce(a, b, 0.1), lambda a, b: nt_xent(a, b, 0.1), regression], ids=["nce", "xent", "mse"]
)
def test_losses_of_half_precision_are_computed_in_float32(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    a, b = normal(8, 4).bfloat16(), normal(8, 4, seed=1).bfloat16()
    found = loss(a, b)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss(a.float(), b.float()))


def test_a_batch_in_which_views_find_each_other_costs_least() -> None:
    a, shuffled = normal(8, 16), normal(8, 16)[torch.randperm(8, generator=torch.Generator().manual_seed(3))]
    for loss in (info_nce, nt_xent):
        assert float(loss(a, a, 0.1)) < 0.1 < 2.0 < float(loss(a, shuffled, 0.1))
