"""Networks for the committed samples (``data/samples``), larger than those data need."""

from collections import OrderedDict

from torch import nn

from overparam.models.mlp import MLP


def digits_net() -> nn.Module:
    """A VGG-like net for the digits: (B, 1, 8, 8) to (B, 10), 23,034 parameters."""

    def block(c_in: int, c_out: int) -> list[nn.Module]:
        return [nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()]

    features = nn.Sequential(
        *block(1, 16), *block(16, 32), nn.MaxPool2d(2), *block(32, 32), nn.MaxPool2d(2)
    )
    head = nn.Sequential(nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
    return nn.Sequential(OrderedDict(features=features, head=head))


def breast_cancer_net() -> nn.Module:
    """A perceptron for the tumours: (B, 30) to (B, 2)."""
    return MLP((30, 128, 128, 2))
