"""A recorded training against the plain one."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from overparam.measure import hessian_top_eigenvalues, recorded_training
from overparam.models import MLP, seeded
from overparam.training import MESA, SAM, Callback, Ensemble, batch_orders, cosine, fit
from overparam.training import cross_entropy as member_cross_entropy

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(2, 40, 4, generator=GENERATOR)
Y = torch.randint(3, (2, 40), generator=GENERATOR)
TRAIN, VAL, TEST = (X[:, :20], Y[:, :20]), (X[:, 20:28], Y[:, 20:28]), (X[:, 28:], Y[:, 28:])
COMMON = {"epochs": 5, "batch_size": 6, "schedule": cosine()}
SEEDS = (4, 9)
LOSS = partial(F.cross_entropy, label_smoothing=0.1)


def models():
    return [seeded(lambda: MLP((4, 8, 3)), seed) for seed in SEEDS]


def recorded(method, rate=0.3, **options):
    settings = {**COMMON, "distance": 2, "every": 2, "smoothing": 0.1, **options}
    optimizer = partial(torch.optim.SGD, lr=rate, momentum=0.9)
    return recorded_training(
        models(), SEEDS, method, train=TRAIN, val=VAL, test=TEST, optimizer=optimizer, **settings
    )


def right(model, part, i):
    x, y = part
    return (model(x[i]).argmax(1) == y[i]).double().mean().item()


@pytest.mark.parametrize(
    ("make", "forward", "backward"),
    [(Callback, 1, 1), (partial(SAM, rho=0.1), 2, 2), (partial(MESA, start=1, beta=0.5), 1.6, 1)],
)
def test_looking_changes_nothing_and_rows_hold_what_was_seen(make, forward, backward):
    found = recorded(make())
    plain, method = Ensemble(models()), make()
    fit(
        plain,
        *TRAIN,
        optimizer=partial(torch.optim.SGD, lr=0.3, momentum=0.9),
        loss=partial(member_cross_entropy, smoothing=0.1),
        orders=batch_orders(20, 5, SEEDS),
        callbacks=[method],
        **COMMON,
    )
    for ours, theirs in zip(found.ensemble.states(), plain.states(), strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    runs, path = found.runs.set_index("seed"), found.path
    assert (runs["fwd_passes"] == forward * 100).all() and (
        runs["bwd_passes"] == backward * 100
    ).all()
    assert not runs["diverged"].any() and (runs["seconds"] > 0).all()
    assert len(path) == 10 and path["lambda_max"].notna().sum() == 2 * 3
    for i, (seed, model) in enumerate(zip(SEEDS, plain.members(), strict=True)):
        data = (TRAIN[0][i], TRAIN[1][i])
        assert runs["val_acc"][seed] == right(model, VAL, i)
        assert runs["test_acc"][seed] == right(model, TEST, i)
        assert runs["train_loss"][seed] == pytest.approx(LOSS(model(data[0]), data[1]).item())
        top = hessian_top_eigenvalues(model, LOSS, data)[0]
        assert runs["lambda_max"][seed] == pytest.approx(top, rel=1e-4)
        if isinstance(method, MESA):
            averaged = method.averaged(plain).members()[i]
            assert runs["ema_acc"][seed] == right(averaged, TEST, i)
        else:
            assert np.isnan(runs["ema_acc"][seed])


def test_a_training_that_diverges_at_once_has_a_row_per_member():
    found = recorded(Callback(), rate=1e30)
    assert found.runs["diverged"].all() and len(found.path) < 10
    assert found.runs[["train_loss", "lambda_max"]].isna().all(axis=None)
    assert (found.runs["test_acc"] == 0).all()


def test_measuring_less_often_changes_only_lambda_max():
    often, rarely = (recorded(Callback(), every=every).path for every in (1, 5))
    pd.testing.assert_frame_equal(
        often.drop(columns="lambda_max"), rarely.drop(columns="lambda_max")
    )
    assert often["lambda_max"].notna().all() and rarely["lambda_max"].notna().sum() == 2


def test_bad_input():
    with pytest.raises(ValueError, match="every=0"):
        recorded(Callback(), every=0)
    with pytest.raises(ValueError, match="epochs=0"):
        recorded(Callback(), epochs=0)
