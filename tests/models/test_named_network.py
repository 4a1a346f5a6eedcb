import re

import pytest
import torch
from torch import nn

from overparam.models import MLP, NETWORK_NAMES, SmallConvNet, count_parameters, named_network


@pytest.mark.parametrize(
    ("name", "widths"), [("7", (12, 7, 4)), ("7x1", (12, 7, 4)), ("30x3", (12, 30, 30, 30, 4))]
)
def test_widths_and_depths(name: str, widths: tuple[int, ...]) -> None:
    net = named_network(name, (3, 2, 2), 4)
    assert isinstance(net, MLP)
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Linear)]
    assert [layer.in_features for layer in layers] == list(widths[:-1])
    assert [layer.out_features for layer in layers] == list(widths[1:])
    assert net(torch.zeros(5, 3, 2, 2)).shape == (5, 4)


@pytest.mark.parametrize("shape", [(64,), (40,), (3, 6, 7)])
def test_conv_takes_flat_inputs_as_they_are_stored(shape: tuple[int, ...]) -> None:
    net = named_network("conv", shape, 4)
    assert isinstance(net, SmallConvNet) and net(torch.zeros(5, *shape)).shape == (5, 4)


def test_sizes_of_the_paper_like_networks_on_digits() -> None:
    sizes = {n: count_parameters(named_network(n, (64,), 10)) for n in ("32", "100x2", "200x2")}
    assert sizes == {"32": 2410, "100x2": 17610, "200x2": 55210}


@pytest.mark.parametrize("name", ["", "wide", "0", "07", "10x", "10x0", "10x22", "conv2", "-3"])
def test_other_names(name: str) -> None:
    assert not re.fullmatch(NETWORK_NAMES, name)
    with pytest.raises(ValueError, match="allowed: conv, WIDTH"):
        named_network(name, (64,), 10)
