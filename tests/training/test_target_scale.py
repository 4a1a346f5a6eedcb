"""Targets of a regression in units of their spread: exact numbers, losses, a real training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from overparam.datasets import InMemory
from overparam.models import seeded
from overparam.training import Recipe, TargetScale, Task, all_outputs, target_scale, train_model
from overparam.training.own_task import score_of, target_text, trained_task, with_target

REGRESSION = Task("regression")


def samples(targets):
    return InMemory(torch.zeros(len(targets), 1), targets)


@pytest.mark.parametrize("shape", [(3000,), (3000, 1), (3000, 3)])
def test_moments_are_those_of_numpy(shape):
    values = np.random.default_rng(0).normal(2e4, 1e4, shape).astype(np.float32)
    found = target_scale(samples(torch.tensor(values)))
    wide = values.reshape(len(values), -1).astype(float)
    assert found.mean == pytest.approx(wide.mean(0), rel=1e-12)
    assert found.deviation == pytest.approx(wide.std(0), rel=1e-12)


def test_targets_of_more_axes_share_one_scale():
    values = torch.randn(50, 2, 3) + 7
    found = target_scale(samples(values))
    assert found.mean == (pytest.approx(float(values.double().mean())),)
    assert found.standard(values).shape == values.shape


def test_a_small_spread_beside_a_large_mean_is_kept():
    found = target_scale(samples((1e6 + torch.arange(8.0)).repeat(400)))
    assert found.deviation[0] == pytest.approx(np.arange(8).std())


def test_constant_targets_are_only_shifted():
    assert target_scale(samples(torch.full((9,), 0.1))).deviation == (1.0,)


@pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 2)])
def test_there_and_back(shape):
    targets = 1e4 * torch.randn(shape) + 2e4
    scale = target_scale(samples(targets))
    back = scale.original(scale.standard(targets))
    assert back.shape == targets.shape and back.dtype == torch.float64
    assert torch.allclose(back, targets.double(), rtol=1e-5)


@pytest.mark.parametrize(("mean", "deviation"), [((), ()), ((0.0,), (0.0,)), ((0.0,), (1.0, 1.0))])
def test_no_scale(mean, deviation):
    with pytest.raises(ValueError, match="deviations > 0"):
        TargetScale(mean, deviation)


def test_the_loss_is_that_of_scaled_targets_and_values_are_in_units():
    targets, outputs = torch.tensor([90.0, 120.0]), torch.tensor([[-1.0], [3.0]])
    task = Task("regression", target=TargetScale((100.0,), (10.0,)))
    assert float(task.loss_at(outputs, targets)) == pytest.approx((0 + 1) / 2)
    assert task.values(outputs).tolist() == [[90.0], [130.0]]
    model = nn.Linear(1, 1)
    data = InMemory(torch.ones(4, 1), torch.full((4,), 7.0))
    given = float(model(torch.ones(1, 1)).detach())
    assert all_outputs(model, data, task)[0][0].item() == pytest.approx(10 * given + 100)
    assert score_of(model, data, task) == pytest.approx(abs(10 * given + 93))


def test_which_tasks_are_scaled():
    data = samples(torch.tensor([1.0, 3.0]))
    scaled = trained_task(REGRESSION, data)
    assert scaled.target == TargetScale((2.0,), (1.0,))
    assert trained_task(scaled, samples(torch.ones(2))) is scaled
    own = replace(REGRESSION, loss=nn.functional.l1_loss)
    assert trained_task(own, data) is own
    classes = Task("classification", ("a", "b"))
    assert trained_task(classes, data) is classes
    assert with_target(REGRESSION, target_text(scaled)) == scaled
    assert with_target(own, target_text(own)) == own
    with pytest.raises(ValueError, match="no units"):
        replace(classes, target=scaled.target)


def test_prices_are_learned_and_told_in_their_units():
    x = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
    prices = 2e4 + 1e4 * (x[:, 0] - 0.5 * x[:, 1])
    data = InMemory(x, prices)
    recipe = Recipe(40, 5e-3, "adamw", 0.0, 64, None)

    def error(task):
        model = seeded(lambda: nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 1)), 0)
        train_model(model, data, task, recipe, seed=0)
        return score_of(model, data, task)

    spread = float(prices.std())
    assert error(REGRESSION) > 1.5 * spread  # the mean alone is out of reach
    assert error(trained_task(REGRESSION, data)) < 0.2 * spread
