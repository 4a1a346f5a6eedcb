"""A search over learning rates as one program, against trainings one by one."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from overparam.models import MLP, seeded
from overparam.training import Ensemble, accuracy, batch_orders, cosine, fit, rate_search

SEEDS, RATES, EPOCHS = (3, 9), (0.3, 1e-3, 0.05), 4
SGD = partial(torch.optim.SGD, momentum=0.9)


def part(n, key):
    generator = torch.Generator().manual_seed(key)
    x = torch.randn(2, n, 5, generator=generator, dtype=torch.float64)
    return x, (x[..., 0] > 0).long() + (x[..., 1] > 0.5).long()


DATA = {"train": part(30, 0), "val": part(50, 1), "test": part(40, 2)}


def models():
    nets = [seeded(lambda: MLP((5, 6, 3)), seed).double() for seed in SEEDS]
    for net in nets:
        next(net.parameters()).requires_grad_(False)
    return nets


def search(nets=None, **changes):
    settings = {"epochs": EPOCHS, "batch_size": 8, "optimizer": SGD, "schedule": cosine(warmup=1)}
    given = {"seeds": SEEDS, "rates": RATES, **DATA, **settings, **changes}
    return rate_search(
        models() if nets is None else nets, given.pop("seeds"), given.pop("rates"), **given
    )


def alone(i, rate):
    """Model i, trained by itself at one rate."""
    net = Ensemble([models()[i]])
    x, y = (t[i : i + 1] for t in DATA["train"])
    trace = fit(
        net, x, y, epochs=EPOCHS, batch_size=8, optimizer=partial(SGD, lr=rate),
        schedule=cosine(warmup=1), orders=batch_orders(30, EPOCHS, [SEEDS[i]]),
    )  # fmt: skip
    scores = [accuracy(net, *(t[i : i + 1] for t in DATA[name])).item() for name in ("val", "test")]
    return net.state(0), trace.train_loss[0, -1].item(), *scores


def test_every_run_is_the_one_that_its_model_makes_alone_and_validation_chooses():
    found = search()
    assert list(found.runs) == [
        "seed", "lr", "val_acc", "test_acc", "train_loss", "diverged", "chosen",
    ]  # fmt: skip
    assert found.runs["seed"].tolist() == [3] * 3 + [9] * 3
    assert found.runs["lr"].tolist() == sorted(RATES) * 2
    for i in range(2):
        rows = found.runs.iloc[3 * i : 3 * i + 3]
        outcomes = [alone(i, rate) for rate in sorted(RATES)]
        assert rows["train_loss"].tolist() == pytest.approx([o[1] for o in outcomes], abs=1e-10)
        assert rows["val_acc"].tolist() == pytest.approx([o[2] for o in outcomes])
        assert rows["test_acc"].tolist() == pytest.approx([o[3] for o in outcomes])
        best = max(range(3), key=lambda k: outcomes[k][2])
        assert rows["chosen"].tolist() == [k == best for k in range(3)]
        for name, tensor in found.best[i].state_dict().items():
            torch.testing.assert_close(tensor, outcomes[best][0][name], rtol=0, atol=1e-10)
    assert found.runs["val_acc"].nunique() > 2


def test_equal_rates_tie_and_the_first_is_chosen():
    runs = search(rates=(0.05, 0.05)).runs
    assert runs["chosen"].tolist() == [True, False] * 2


def test_what_is_frozen_stays_and_the_models_given_too():
    nets = models()
    before = copy.deepcopy(nets)
    best = search(nets).best
    for net, start, found in zip(nets, before, best, strict=True):
        weights = dict(start.named_parameters())
        frozen, *trained = weights
        assert all(torch.equal(p, weights[name]) for name, p in net.named_parameters())
        tuned = dict(found.named_parameters())
        assert torch.equal(tuned[frozen], weights[frozen]) and not tuned[frozen].requires_grad
        assert not any(torch.equal(tuned[name], weights[name]) for name in trained)
        assert not found.training


def test_a_rate_that_diverges_is_not_chosen():
    runs = search(rates=(1e-3, 1e200)).runs
    assert runs["diverged"].tolist() == [False, True] * 2
    assert runs["chosen"].tolist() == [True, False] * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": (1,)}, "seeds has 1 entries for 2 models"),
        ({"val": tuple(t[:1] for t in DATA["val"])}, "val has 1 entries for 2 models"),
        ({"rates": ()}, "rates="),
        ({"rates": (0.1, -0.1)}, "rates="),
        ({"optimizer": torch.optim.Rprop}, "Rprop"),
    ],
)
def test_bad_input(changes, message):
    with pytest.raises(ValueError, match=message):
        search(**changes)


def test_no_models_and_models_of_two_kinds():
    empty = {name: tuple(t[:0] for t in pair) for name, pair in DATA.items()}
    with pytest.raises(ValueError, match="rates="):
        search([], seeds=(), **empty)
    with pytest.raises(ValueError, match="member 3: module"):
        search([nn.Linear(5, 3).double(), nn.Linear(5, 4).double()])
