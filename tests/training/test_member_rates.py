"""Learning rates by member against trainings one by one."""

from functools import partial

import pytest
import torch
from torch import nn

from overparam.models import MLP, seeded
from overparam.training import Ensemble, batch_orders, cosine, fit
from overparam.training.member_rates import MemberRates

RATES = (3e-4, 1e-2, 3e-3)


def decay_matrices(parameters, lr, cls=torch.optim.AdamW):
    groups = [
        {"params": [p for p in parameters if p.ndim > 2], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.ndim <= 2], "weight_decay": 0.0},
    ]
    return cls(groups, lr=lr)


OPTIMIZERS = {
    "sgd": partial(torch.optim.SGD, momentum=0.9, weight_decay=1e-2, nesterov=True),
    "adam": partial(torch.optim.Adam, weight_decay=1e-2, amsgrad=True),
    "adamw": partial(torch.optim.AdamW, weight_decay=0.1),
    "adamw by group": decay_matrices,
    "rmsprop": partial(torch.optim.RMSprop, momentum=0.5),
    "nadam": partial(torch.optim.NAdam, weight_decay=0.1, decoupled_weight_decay=True),
}


def train(rates, optimizer, seeds, *, callbacks=(), epochs=3):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    y = torch.randint(3, (40,), generator=generator)
    nets = Ensemble([seeded(lambda: MLP((6, 8, 3)), seed).double() for seed in seeds])
    trace = fit(
        nets, x, y, epochs=epochs, batch_size=16, optimizer=partial(optimizer, lr=max(rates)),
        schedule=cosine(warmup=1), orders=batch_orders(40, epochs, seeds), callbacks=callbacks,
    )  # fmt: skip
    return nets, trace


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_member_goes_the_way_that_it_goes_alone_at_its_rate(name):
    seeds = (4, 5, 6)
    together, trace = train(RATES, OPTIMIZERS[name], seeds, callbacks=[MemberRates(RATES)])
    for i, (rate, seed) in enumerate(zip(RATES, seeds, strict=True)):
        alone, own = train([rate], OPTIMIZERS[name], [seed])
        torch.testing.assert_close(trace.train_loss[i], own.train_loss[0], rtol=0, atol=1e-10)
        for key, tensor in alone.state(0).items():
            torch.testing.assert_close(together.state(i)[key], tensor, rtol=0, atol=1e-10)


def test_equal_rates_change_nothing_at_all():
    rates = (1e-2, 1e-2)
    plain, _ = train(rates, OPTIMIZERS["adamw"], (1, 2))
    same, _ = train(rates, OPTIMIZERS["adamw"], (1, 2), callbacks=[MemberRates(rates)])
    for key, tensor in plain.state(1).items():
        assert torch.equal(same.state(1)[key], tensor)


def test_frozen_parameters_are_left_alone_and_a_diverged_member_stays_alone():
    def half_frozen(seed):
        net = seeded(lambda: MLP((6, 8, 3)), seed).double()
        next(net.parameters()).requires_grad_(False)
        return net

    nets = Ensemble([half_frozen(0), half_frozen(1)])
    before = nets.snapshot()
    x, y = torch.randn(8, 6, dtype=torch.float64), torch.arange(8) % 3
    trace = fit(
        nets, x, y, epochs=4, batch_size=8, optimizer=partial(torch.optim.SGD, lr=1e200),
        orders=batch_orders(8, 4, (0, 1)), callbacks=[MemberRates((1e-2, 1e200))],
    )  # fmt: skip
    assert trace.diverged.tolist() == [False, True]
    frozen = next(iter(before))
    assert torch.equal(nets.parameters[frozen][0], before[frozen][0])
    assert all(tensor[0].isfinite().all() for tensor in nets.parameters.values())


@pytest.mark.parametrize("rates", [(), (0.1, 0.0), (-1.0,), (float("inf"),), (float("nan"),)])
def test_rates_that_are_none_are_refused(rates):
    with pytest.raises(ValueError, match=r"rates="):
        MemberRates(rates)


@pytest.mark.parametrize(
    ("optimizer", "rates", "message"),
    [
        (partial(torch.optim.SGD, lr=0.1), (0.1,), "1 rates for 2 members"),
        (partial(torch.optim.SGD, lr=0.2), (0.1, 0.05), "lr is 0.2"),
        (partial(torch.optim.Rprop, lr=0.1), (0.1, 0.05), "Rprop"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_step(optimizer, rates, message):
    nets = Ensemble([nn.Linear(3, 2), nn.Linear(3, 2)])
    before = nets.snapshot()
    with pytest.raises(ValueError, match=message):
        fit(
            nets, torch.randn(4, 3), torch.arange(4) % 2, epochs=1, batch_size=4,
            optimizer=optimizer, orders=batch_orders(4, 1, (0, 1)), callbacks=[MemberRates(rates)],
        )  # fmt: skip
    assert all(torch.equal(before[key], tensor) for key, tensor in nets.snapshot().items())
