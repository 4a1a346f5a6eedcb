"""Cost of sharing, masking and scoring beside the dense step, ratios within one run."""

import time
from statistics import median

import pytest
import torch
from torch import nn

from overparam.compress import (
    apply_masks,
    attach_gradient_scaling,
    global_mask,
    ranking,
    score_grasp,
    score_mag,
    score_snip,
    share_parameters,
    synflow_masks,
)
from overparam.compress.shared_model import SharedModel
from overparam.training import Ensemble

pytestmark = pytest.mark.benchmark(group="sharing")
X = torch.randn(100, 64, generator=torch.Generator().manual_seed(0))
Y = torch.arange(100) % 10


def mlp(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
    )


def stepper(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    if isinstance(model, SharedModel):
        attach_gradient_scaling(optimizer, model)

    def step():
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(X), Y).backward()
        optimizer.step()

    return step


MODELS = {
    "dense": mlp,
    "shared": lambda: share_parameters(mlp(), 50, seed=0),
    "shared, indices recomputed": lambda: share_parameters(mlp(), 50, seed=0, cache_index=False),
    "masked": lambda: apply_masks(mlp(), global_mask(score_mag(mlp()), 0.02)),
}


@pytest.mark.parametrize("name", MODELS)
def test_step(benchmark, name):
    benchmark(stepper(MODELS[name]()))


def test_a_shared_step_costs_little_more_than_a_dense_one():
    """The gather and scatter of 84,480 weights: about 1 ms of processor time on one core."""
    steps = [stepper(MODELS[name]()) for name in ("dense", "shared")]
    times = [[], []]
    for _ in range(40):
        for step, record in zip(steps, times, strict=True):
            start = time.process_time()
            step()
            record.append(time.process_time() - start)
    dense, shared = map(median, times)
    assert shared - dense < max(1.5 * dense, 2e-3)


@pytest.mark.parametrize("name", ["mag", "snip", "grasp", "synflow"])
def test_masks_of_five_seeds(benchmark, name):
    ensemble = Ensemble([mlp(s) for s in range(5)])
    x, y = X.expand(5, -1, -1), Y.expand(5, -1)
    scores = {
        "mag": lambda: score_mag(ensemble),
        "snip": lambda: score_snip(ensemble, x, y),
        "grasp": lambda: score_grasp(ensemble, x, y),
    }

    def masks():
        if name == "synflow":
            return [synflow_masks(ensemble, x, count=168)]
        ranked = ranking(scores[name](), stacked=True)
        return [ranked.masks(count=count) for count in (84480, 1689, 168)]

    result = benchmark.pedantic(masks, rounds=1)
    assert sum(m.flatten(1).sum(1) for m in result[-1].values()).tolist() == [168] * 5
