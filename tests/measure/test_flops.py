"""FLOPs against counts by hand."""

import pytest
import torch
from torch import nn
from toys.model_zoo import ZOO

from overparam.measure import count_flops
from overparam.measure.flops import flop_count


def test_linear_and_convolution_by_hand():
    linear = nn.Linear(30, 20)
    counted = flop_count(linear, lambda: linear(torch.zeros(1, 30)))
    assert counted.total == 2 * 30 * 20 and counted.uncounted == {}
    conv = nn.Conv2d(6, 12, (3, 5), stride=2, groups=3)
    counted = flop_count(conv, lambda: conv(torch.zeros(1, 6, 9, 11)))
    assert counted.total == 2 * (4 * 4) * 12 * 2 * 3 * 5
    assert sum(counted.by_operator.values()) == counted.total
    both = nn.Sequential(nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 5))
    x = torch.zeros(1, 30)
    counted = flop_count(both, lambda: both(x))
    assert counted.total == 2 * 20 * (30 + 5)
    assert counted.operators == 3


def test_transformer_layers_and_recurrent_layers_hide_nothing():
    n, d, wide = 7, 16, 32
    layer = nn.TransformerEncoderLayer(d, 4, wide, batch_first=True)
    counted = flop_count(layer, lambda: layer(torch.zeros(1, n, d)))
    products = n * d * (3 * d + d + 2 * wide)  # projections and the two feed-forward layers
    assert counted.total == 2 * (products + 2 * n * n * d)
    assert counted.uncounted == {}
    lstm = nn.LSTM(10, 6, batch_first=True)
    assert count_flops(lstm, lambda: lstm(torch.zeros(1, n, 10))) == 2 * n * 4 * 6 * (10 + 6)


class Differences(nn.Module):
    """Distances to prototypes: reads a matrix without a product."""

    def __init__(self):
        super().__init__()
        self.prototypes = nn.Parameter(torch.ones(4, 3))

    def forward(self, x):
        return torch.cdist(x, self.prototypes, p=1)


def test_what_reads_a_matrix_without_a_formula_is_named():
    toy = ZOO["recurrent"]
    net = toy.factory()
    assert flop_count(net, lambda: toy.call(net)).uncounted == {"aten.embedding": 1}
    distances = Differences()
    counted = flop_count(distances, lambda: distances(torch.zeros(2, 3)))
    assert counted.total == 0 and list(counted.uncounted) == ["aten._cdist_forward"]


def test_the_switches_are_put_back():
    layer = nn.Linear(3, 3)
    before = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled
    with pytest.raises(RuntimeError):
        flop_count(layer, lambda: layer(torch.zeros(1, 4)))
    assert before == (torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled)
    assert layer.training
