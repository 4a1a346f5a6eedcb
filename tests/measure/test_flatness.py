"""Flatness of models with a known Hessian, and of models that diverged."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from overparam.measure import (
    flatness,
    flatness_tables,
    hessian_top_eigenvalues,
    hessian_trace,
    lambda_max,
    loss_slice_1d,
    sam_sharpness,
)
from overparam.models import MLP, seeded

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(2, 12, 4, generator=GENERATOR)
Y = torch.randint(3, (2, 12), generator=GENERATOR)


def linear(weight):
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([weight]))
    return model


def nets():
    return [seeded(lambda: MLP((4, 6, 3)), seed) for seed in (0, 1)]


def test_a_quadratic():
    """L = (4 a^2 + b^2) / 2: Hessian diag(4, 1), sharpness and slice in closed form."""
    data = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1)
    model = linear([1.0, 1.0])
    assert lambda_max(model, F.mse_loss, data) == pytest.approx(4.0)
    found = flatness(model, F.mse_loss, data, rho=0.1, probes=3, points=5)
    assert found.trace == pytest.approx(5.0)
    assert found.sam_sharpness == pytest.approx(0.431428, abs=1e-6)
    assert found.slice.steps.tolist() == [-1, -0.5, 0, 0.5, 1]
    assert found.slice.losses[2] == pytest.approx(2.5)
    # Second differences of a parabola are all alike.
    assert np.ptp(np.diff(found.slice.losses, 2)) == pytest.approx(0, abs=1e-5)


def test_tables_hold_what_each_measure_gives_for_each_model():
    models = nets()
    tables = flatness_tables(
        iter(models), (7, 3), F.cross_entropy, X, Y, rho=0.2, probes=4, points=3
    )
    rows, slices = tables["flatness"].set_index("seed"), tables["slices"]
    assert rows.index.tolist() == [7, 3] and list(rows) == ["trace", "sam_sharpness"]
    assert list(slices) == ["seed", "step", "loss"] and len(slices) == 6
    for i, (seed, model) in enumerate(zip((7, 3), models, strict=True)):
        data = (X[i], Y[i])
        assert rows["trace"][seed] == hessian_trace(model, F.cross_entropy, data, probes=4).trace
        assert rows["sam_sharpness"][seed] == sam_sharpness(model, F.cross_entropy, data, 0.2)
        line = loss_slice_1d(model, F.cross_entropy, data, points=3)
        own = slices[slices["seed"] == seed]
        assert np.array_equal(own["step"], line.steps) and np.array_equal(own["loss"], line.losses)
        top = hessian_top_eigenvalues(model, F.cross_entropy, data)
        assert lambda_max(model, F.cross_entropy, data) == top[0]


@pytest.mark.parametrize("size", [math.nan, math.inf, 1e30])
def test_what_has_diverged_is_nan_and_disturbs_no_other(size):
    models = nets()
    with torch.no_grad():
        for parameter in models[1].parameters():
            parameter.fill_(size)
        models[1].layers[-1].weight[1:].neg_()
    loss, data = F.cross_entropy, (X[1], Y[1])
    assert math.isnan(lambda_max(models[1], loss, data))
    tables = flatness_tables(models, (0, 1), loss, X, Y, points=3)
    alone = flatness_tables(models[:1], (0,), loss, X[:1], Y[:1], points=3)
    rows, slices = tables["flatness"], tables["slices"]
    assert rows[:1].equals(alone["flatness"]) and slices[:3].equals(alone["slices"])
    assert rows.loc[1, ["trace", "sam_sharpness"]].isna().all()
    assert slices[3:].isna().to_numpy().tolist() == [[False, True, True]]


def test_other_errors_are_not_taken_for_divergence():
    model, data = nets()[0], (X[0], Y[0])
    with pytest.raises(ValueError, match="rho=0"):
        flatness(model, F.cross_entropy, data, rho=0.0)
    with pytest.raises(ValueError, match="scalar"):
        lambda_max(model, lambda out, y: out, data)
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        flatness_tables([model, model], (0,), F.cross_entropy, X, Y)
