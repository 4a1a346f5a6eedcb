"""Lottery tickets through ``train_model``."""

import copy

import pytest
import torch
from toys.model_zoo import ZOO

from overparam.compress import train_ticket
from overparam.compress.lottery_training import pruning_rounds
from overparam.compress.train_steps import same_modes, training_steps
from overparam.datasets import InMemory
from overparam.training import Recipe, Task, train_model

FOUR = Task("classification", tuple("abcd"))


def test_the_ticket_is_the_early_network_under_magnitude_masks():
    toy = ZOO["conv_bn"]
    initial, data = toy.factory(), InMemory(toy.inputs, toy.targets())
    recipe = Recipe(20, 1e-2, batch_size=2)
    before = copy.deepcopy(initial.state_dict())
    ticket = train_ticket(initial, data, FOUR, recipe, count=700, seed=4)
    assert all(torch.equal(before[key], value) for key, value in initial.state_dict().items())
    assert ticket.kept == (round((1552 * 700) ** 0.5), 700)
    dense, states = copy.deepcopy(initial), []
    train_model(
        dense, data, FOUR, recipe, seed=4, on_step=lambda: states.append(copy.deepcopy(dense))
    )
    early = states[2]  # 5 % of 60 steps
    for key, mask in ticket.masks.items():
        weight = early.get_parameter(key)
        assert torch.equal(ticket.ticket.get_submodule(key[:-7]).weight, weight.where(mask, 0.0))
    assert torch.equal(ticket.ticket[1].running_mean, early[1].running_mean)
    assert sum(int(mask.sum()) for mask in ticket.masks.values()) == 700
    again = copy.deepcopy(ticket.ticket)
    train_model(again, data, FOUR, recipe, seed=4)
    for a, b in zip(again.state_dict().values(), ticket.trained.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_rounds_cut_at_most_half():
    for n, count in ((1000, 999), (1000, 500), (1000, 499), (1000, 31), (7, 1), (2**30, 1)):
        rounds = pruning_rounds(n, count)
        assert (count / n) ** (1 / rounds) >= 0.5 - 1e-9
        assert rounds == 1 or (count / n) ** (1 / (rounds - 1)) < 0.5


@pytest.mark.parametrize(("samples", "size"), [(6, 2), (7, 2), (7, 3), (1, 4), (5, 5), (6, 5)])
def test_steps_are_those_that_training_takes(samples, size):
    data = InMemory(torch.ones(samples, 12), torch.zeros(samples, dtype=torch.long))
    recipe, steps = Recipe(3, 1e-3, batch_size=size), []
    model = ZOO["mlp"].factory()
    train_model(model, data, FOUR, recipe, seed=0, on_step=lambda: steps.append(1))
    assert training_steps(data, recipe) == len(steps)


def test_modes_are_copied_module_by_module():
    model, original = ZOO["mlp"].factory().eval(), ZOO["mlp"].factory()
    original[2].eval()
    assert [m.training for m in same_modes(model, original)] == [True, True, False, True]


@pytest.mark.parametrize(
    ("count", "epochs", "words"), [(0, 1, "count is 0"), (9, 0, "epochs is 0")]
)
def test_bad_input(count, epochs, words):
    toy = ZOO["mlp"]
    data = InMemory(toy.inputs, toy.targets())
    with pytest.raises(ValueError, match=words):
        train_ticket(toy.factory(), data, FOUR, Recipe(epochs, 0.1), count=count, seed=0)
