"""The loop where things are odd: batches of one, rates per group, models that are not finite."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from overparam.datasets import InMemory
from overparam.errors import Diverged
from overparam.models import seeded
from overparam.training import Recipe, Task, mean_loss, train_model

CLASSES = Task("classification", ("a", "b", "c"))


def data(n=12, seed=0):
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return InMemory(x, x[:, :3].argmax(1))


def linear(seed=0):
    return seeded(lambda: nn.Linear(4, 3), seed).double()


def test_batches_of_one_are_all_taken():
    made, plain, samples, steps = linear(), linear(), data(5), []
    recipe = Recipe(1, 0.1, "sgd", batch_size=1)
    train_model(made, samples, CLASSES, recipe, seed=2, on_step=lambda: steps.append(1))
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    for x, y in samples.batches(1, seed=2 * 1_000_003):
        optimizer.zero_grad()
        cross_entropy(plain(x), y).backward()
        optimizer.step()
    assert len(steps) == 5
    torch.testing.assert_close(made.weight, plain.weight, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("n", "expected"), [(9, 2), (10, 3), (1, 1)])
def test_a_last_batch_of_one_is_left_out_beside_others(n, expected):
    steps = []
    recipe = Recipe(1, 0.1, batch_size=4)
    train_model(linear(), data(n), CLASSES, recipe, seed=0, on_step=lambda: steps.append(1))
    assert len(steps) == expected


def test_rates_per_group_fall_together():
    seen = []

    def split(optimizer):
        optimizer.param_groups[0]["params"] = [model.weight]
        optimizer.add_param_group({"params": [model.bias], "lr": 0.01})

    def note(epochs):
        for epoch in epochs:
            yield epoch
            seen.append([group["lr"] for group in optimizers[0].param_groups])

    model, optimizers = linear(), []
    train_model(
        model,
        data(),
        CLASSES,
        Recipe(4, 0.1, "sgd"),
        seed=0,
        on_optimizer=lambda optimizer: (split(optimizer), optimizers.append(optimizer)),
        progress=note,
    )
    shape = [0.5 * (1 + math.cos(math.pi * epoch / 4)) for epoch in range(4)]
    torch.testing.assert_close(
        torch.tensor(seen), torch.tensor([[0.1 * s, 0.01 * s] for s in shape])
    )


class Hurt(nn.Module):
    """Outputs that are NaN until it has been in train mode."""

    def __init__(self):
        super().__init__()
        self.inner = linear()
        self.register_buffer("scale", torch.tensor(math.nan, dtype=torch.float64))

    def forward(self, x):
        if self.training:
            self.scale.fill_(1.0)
        return self.inner(x) * self.scale


def test_a_model_that_is_nan_to_begin_with_can_be_trained():
    model = Hurt()
    history = train_model(model, data(), CLASSES, Recipe(3, 0.1), seed=0, validation=data(9, 1))
    assert history.best_epoch >= 0
    assert mean_loss(model, data(9, 1), CLASSES) == pytest.approx(min(history.validation_loss))


def test_a_step_is_not_taken_from_a_loss_that_is_not_finite():
    model, steps = linear(), []
    samples = data()
    samples.inputs[:] = math.inf
    before = model.weight.clone()
    with pytest.raises(Diverged, match="in epoch 0"):
        train_model(
            model, samples, CLASSES, Recipe(1, 0.1), seed=0, on_step=lambda: steps.append(1)
        )
    assert not steps and torch.equal(before, model.weight)


def test_batch_statistics_learn_in_training_and_rest_in_evaluation():
    model = nn.Sequential(nn.BatchNorm1d(4), seeded(lambda: nn.Linear(4, 3), 0)).double()
    samples, expected = data(16), torch.zeros(4, dtype=torch.float64)
    train_model(
        model, samples, CLASSES, Recipe(2, 0.1, batch_size=8), seed=7, validation=data(9, 1)
    )
    for epoch in range(2):
        for x, _ in samples.batches(8, seed=7 * 1_000_003 + epoch):
            expected = 0.9 * expected + 0.1 * x.mean(0)
    torch.testing.assert_close(model[0].running_mean, expected, rtol=0, atol=1e-12)


def test_a_teacher_keeps_its_mode_and_is_asked_in_eval_mode():
    teacher = nn.Sequential(seeded(lambda: nn.Linear(4, 3), 3), nn.Dropout(0.9)).double().train()
    made, other = linear(), linear()
    recipe = Recipe(2, 0.1, batch_size=4)
    train_model(made, data(), CLASSES, recipe, seed=0, teacher=teacher)
    train_model(other, data(), CLASSES, recipe, seed=0, teacher=teacher[0])
    assert teacher.training and teacher[1].training
    assert torch.equal(made.weight, other.weight)
