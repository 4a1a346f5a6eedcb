"""Operations and bytes of a forward pass, in closed form."""

import torch
from torch import nn

from overparam.measure import count_flops, peak_tensor_bytes

FLOAT = 4


def test_flops_of_layers_in_closed_form():
    x = torch.zeros(2, 3, 8, 8)
    conv = nn.Conv2d(3, 6, 3, padding=1)
    assert count_flops(conv, lambda: conv(x)) == 2 * 2 * 6 * 8 * 8 * 3 * 9
    grouped = nn.Conv2d(6, 6, 3, groups=3, stride=2)
    inputs = torch.zeros(1, 6, 9, 9)
    assert count_flops(grouped, lambda: grouped(inputs)) == 2 * 6 * 4 * 4 * 2 * 9
    net = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.BatchNorm1d(20), nn.Linear(20, 5))
    assert count_flops(net, lambda: net(torch.zeros(7, 10))) == 2 * 7 * (200 + 100)


def test_zeros_are_counted_like_other_numbers():
    layer = nn.Linear(8, 8)
    nn.init.zeros_(layer.weight)
    assert count_flops(layer, lambda: layer(torch.ones(1, 8))) == 128


def test_counting_puts_the_mode_back():
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).train()
    net[1].eval()
    count_flops(net, lambda: net(torch.zeros(1, 2)))
    peak_tensor_bytes(net, lambda: net(torch.zeros(1, 2)))
    assert net.training and net[0].training and not net[1].training


def test_the_peak_is_what_lives_at_once():
    # fc1 gives 100 x 50; relu another; then fc2 gives 100 x 10 while relu's is held.
    net = nn.Sequential(nn.Linear(20, 50, bias=False), nn.ReLU(), nn.Linear(50, 10, bias=False))
    x = torch.zeros(100, 20)
    weights = 20 * 50 + 50 * 10
    assert peak_tensor_bytes(net, lambda: net(x)) == FLOAT * (weights + 2 * 100 * 50)


def test_writes_in_place_and_views_cost_nothing():
    net = nn.Sequential(nn.Linear(20, 50, bias=False), nn.ReLU(inplace=True), nn.Flatten(0))
    x = torch.zeros(100, 20)
    assert peak_tensor_bytes(net, lambda: net(x)) == FLOAT * (20 * 50 + 100 * 50)
    identity = nn.Sequential(nn.Flatten())
    identity.register_buffer("table", torch.zeros(3))
    assert peak_tensor_bytes(identity, lambda: identity(torch.zeros(4, 2, 2))) <= FLOAT * (3 + 16)


def test_tied_weights_count_once():
    first = nn.Linear(30, 30, bias=False)
    second = nn.Linear(30, 30, bias=False)
    second.weight = first.weight
    net = nn.Sequential(first, second)
    x = torch.zeros(1, 30)
    assert peak_tensor_bytes(net, lambda: net(x)) == FLOAT * (900 + 60)


def test_the_peak_is_the_same_every_time_and_grows_with_the_batch():
    net = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    small, large = torch.zeros(2, 5, 16), torch.zeros(8, 5, 16)
    peaks = [peak_tensor_bytes(net, lambda: net(small)) for _ in range(3)]
    assert len(set(peaks)) == 1 < peak_tensor_bytes(net, lambda: net(large))
