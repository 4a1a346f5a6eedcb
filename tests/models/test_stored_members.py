"""Networks made anew from the weights that a step stored."""

import pytest
import torch
from torch import nn

from overparam.models import seeded, stored_members
from overparam.store import Tables, Weights


def layer():
    return nn.Linear(3, 2)


NETS = {seed: seeded(layer, seed) for seed in (4, 7)}
STORED = Tables.of({"nets": Weights.by_seed(tuple(NETS), [n.state_dict() for n in NETS.values()])})


def test_members_come_in_the_order_asked_for():
    found = stored_members(layer, STORED, "nets", (7, 4))
    for net, seed in zip(found, (7, 4), strict=True):
        assert torch.equal(net.weight, NETS[seed].weight)
    assert not torch.equal(found[0].weight, found[1].weight)


def test_a_seed_that_was_not_stored_is_named():
    with pytest.raises(ValueError, match=r"no model with .*5"):
        stored_members(layer, STORED, "nets", (4, 5))


def test_another_architecture_is_refused():
    with pytest.raises(RuntimeError, match="weight"):
        stored_members(lambda: nn.Linear(4, 2), STORED, "nets", (4,))


def test_a_seed_for_each_state():
    with pytest.raises(ValueError, match="zip"):
        Weights.by_seed((1,), [n.state_dict() for n in NETS.values()])
