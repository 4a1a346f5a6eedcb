import pytest
import torch
from torch import nn

from overparam.compress import smaller_width


def mlp(width):
    return nn.Sequential(
        nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)
    )


@pytest.mark.parametrize("budget", [75, 168, 422, 1689, 8448, 84479, 84480, 84481, 10**6])
def test_width_is_the_largest_within_the_budget(budget):
    width = smaller_width(mlp, budget)
    assert 64 * width + width**2 + 10 * width <= budget
    assert 64 * (width + 1) + (width + 1) ** 2 + 10 * (width + 1) > budget


def test_no_random_numbers_are_used():
    before = torch.get_rng_state()
    smaller_width(mlp, 1689)
    assert torch.equal(torch.get_rng_state(), before)


def test_bad_input():
    with pytest.raises(ValueError, match="width 1 has 75"):
        smaller_width(mlp, 74)
    with pytest.raises(ValueError, match="do not grow"):
        smaller_width(lambda width: nn.Linear(3, 3), 20)
