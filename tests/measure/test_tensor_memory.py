"""Peak memory of tensors against sums by hand."""

import torch
from torch import nn
from toys.model_zoo import ZOO

from overparam.measure import peak_tensor_bytes


class Chain(nn.Module):
    """Each step forgets the one before, or keeps all of them."""

    def __init__(self, keep):
        super().__init__()
        self.keep = keep
        self.register_buffer("table", torch.zeros(50))

    def forward(self, x):
        held = []
        for _ in range(6):
            x = x + 1
            if self.keep:
                held.append(x)
        return x


def test_what_is_forgotten_no_longer_counts():
    x = torch.zeros(1000)
    short, long = Chain(keep=False), Chain(keep=True)
    assert peak_tensor_bytes(short, lambda: short(x)) == 4 * (50 + 2 * 1000)
    assert peak_tensor_bytes(long, lambda: long(x)) == 4 * (50 + 6 * 1000)


def test_types_and_views():
    x = torch.zeros(1000, dtype=torch.float64)
    net = nn.Linear(2, 2, bias=False).half()

    def views():
        y = x.half()
        return y.view(10, 100).t()[3:].chunk(2)

    assert peak_tensor_bytes(net, views) == 2 * (4 + 1000)


def test_the_same_every_time():
    for toy in ZOO.values():
        net = toy.factory()
        first, second = (
            peak_tensor_bytes(net, lambda net=net, toy=toy: toy.call(net)) for _ in "ab"
        )
        assert first == second
        assert first > sum(p.numel() * p.element_size() for p in net.parameters())
