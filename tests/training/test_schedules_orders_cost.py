import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from overparam.training import CostCounter, batch_orders, constant, cosine, multistep


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 30),
    epochs=st.integers(1, 4),
    seeds=st.lists(st.integers(0, 2**63), min_size=1, max_size=4),
)
def test_orders_are_permutations_that_depend_on_the_own_seed_alone(n, epochs, seeds):
    orders = batch_orders(n, epochs, seeds)
    assert orders.shape == (len(seeds), epochs, n) and orders.dtype == torch.long
    assert torch.equal(orders.sort(-1).values, torch.arange(n).expand_as(orders))
    assert torch.equal(orders[-1:], batch_orders(n, epochs, seeds[-1:]))
    assert torch.equal(orders, batch_orders(n, epochs + 3, seeds)[:, :epochs])


def test_orders_differ_between_epochs_and_seeds_and_are_uniform():
    orders = batch_orders(4, 6000, [0, 1])
    assert not torch.equal(orders[0], orders[1])
    codes = (orders[0] * torch.tensor([64, 16, 4, 1])).sum(1)
    counts = codes.unique(return_counts=True)[1]
    assert len(counts) == 24 and (counts - 250).abs().max() < 5 * 250**0.5


def test_multistep_matches_torch():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    reference = torch.optim.lr_scheduler.MultiStepLR(optimizer, [24, 34])
    for epoch in range(40):
        assert multistep((0.6, 0.85), 0.1)(epoch, 40) == pytest.approx(reference.get_last_lr()[0])
        optimizer.step()
        reference.step()
    assert multistep((0.55,))(55, 100) == 0.1 and multistep((0.55,))(54, 100) == 1


def test_cosine_matches_torch_and_warms_up():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20, eta_min=0.05)
    for epoch in range(20):
        assert cosine(floor=0.05)(epoch, 20) == pytest.approx(reference.get_last_lr()[0])
        assert cosine(warmup=5, floor=0.05)(epoch + 5, 25) == pytest.approx(
            reference.get_last_lr()[0]
        )
        optimizer.step()
        reference.step()
    assert [cosine(warmup=3)(epoch, 9) for epoch in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert constant()(3, 7) == 1


def test_cost_adds_up():
    cost = CostCounter()
    cost.add(forward=3, backward=2)
    cost.add(forward=1)
    assert cost == CostCounter(forward=4, backward=2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: batch_orders(0, 1, [0]), "n=0"),
        (lambda: batch_orders(1, 1, []), "at least one"),
        (lambda: batch_orders(1, 1, [-1]), "each >= 0"),
        (lambda: multistep((1.0,)), "between 0 and 1"),
        (lambda: multistep(factor=0), "0 < factor"),
        (lambda: cosine(warmup=-1), "warmup=-1"),
        (lambda: cosine(floor=1), "floor=1"),
        (lambda: cosine(warmup=5)(0, 5), "smaller than the 5 epochs"),
        (lambda: CostCounter().add(forward=-1), "can't be negative"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
