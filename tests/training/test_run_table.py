"""The table of how members came out."""

from functools import partial

import pytest
import torch
from torch import nn

from overparam.models import seeded
from overparam.training import Ensemble, batch_orders, fit, run_table

X = torch.randn(2, 12, 3, generator=torch.Generator().manual_seed(0))
Y = torch.randint(0, 2, (2, 12), generator=torch.Generator().manual_seed(1))


def trained(rate=0.1):
    ensemble = Ensemble([seeded(lambda: nn.Linear(3, 2), seed) for seed in (5, 8)])
    optimizer = partial(torch.optim.SGD, lr=rate)
    orders = batch_orders(12, 2, (5, 8))
    return ensemble, fit(ensemble, X, Y, epochs=2, batch_size=4, optimizer=optimizer, orders=orders)


def test_rows_hold_what_each_member_scores_by_itself():
    ensemble, trace = trained()
    table = run_table(ensemble, trace, (5, 8), train=(X, Y), test=(X[:, :5], Y[:, :5]))
    assert list(table) == ["seed", "train_acc", "test_acc", "train_loss", "diverged"]
    assert table["seed"].tolist() == [5, 8]
    assert table["train_loss"].tolist() == trace.train_loss[:, -1].tolist()
    for i, member in enumerate(ensemble.members()):
        right = (member(X[i]).argmax(1) == Y[i]).double()
        assert table["train_acc"][i] == pytest.approx(right.mean().item())
        assert table["test_acc"][i] == pytest.approx(right[:5].mean().item())


def test_a_member_that_diverged_scores_nothing():
    ensemble, trace = trained(rate=float("inf"))
    table = run_table(ensemble, trace, (5, 8), test=(X, Y))
    assert table["diverged"].all() and (table["test_acc"] == 0).all()
    assert table["train_loss"].isna().all()


def test_a_seed_for_each_member():
    ensemble, trace = trained()
    with pytest.raises(ValueError, match="1 entries for 2 members"):
        run_table(ensemble, trace, (5,), test=(X, Y))
