"""A user's own file: a small model, data, methods, and factories wrong in one way each."""

import torch
from torch import nn

from overparam.compress import CannotTreat, compressor
from overparam.models import seeded


def make() -> nn.Module:
    """A perceptron for four features and three classes."""
    return nn.Sequential(
        nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 3)
    )


def wide() -> nn.Module:
    """Five outputs where the data have three classes."""
    return nn.Linear(4, 5)


def deaf() -> nn.Module:
    """Wants seven features."""
    return nn.Linear(7, 3)


def broken() -> nn.Module:
    raise RuntimeError("no such checkpoint")


def text() -> str:
    return "not a model"


def empty() -> nn.Module:
    return nn.ReLU()


number = 3


def data():
    """Train and test: the class is the largest of the first three features."""

    def part(n: int, seed: int):
        x = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))
        return x, x[:, :3].argmax(1)

    return part(300, 0), part(100, 1)


@compressor("Keep the weights of an even index.", finetune=False)
def every_other(model: nn.Module, *, seed: int) -> nn.Module:
    small = seeded(make, seed)
    small.load_state_dict(model.state_dict())
    with torch.no_grad():
        for name, weight in small.named_parameters():
            if name.endswith("weight"):
                weight.flatten()[1::2] = 0
    return small


@compressor("Treats nothing.")
def fussy(model: nn.Module, *, ratio: float) -> nn.Module:
    raise CannotTreat(f"no layer of a kind that ratio {ratio:g} suits")


@compressor("Breaks.")
def breaks(model: nn.Module, *, ratio: float) -> nn.Module:
    raise RuntimeError("out of luck")
