import warnings
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

from overparam.datasets import IndexedDataset
from overparam.models import MLP, seeded
from overparam.training import (
    SAF,
    SAM,
    BalancedLambda,
    Callback,
    Ensemble,
    RecomputedSAF,
    batch_orders,
    cosine,
    fit,
    mse,
)

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=1e-3)
N, EPOCHS, BATCH = 24, 8, 12


def problem(seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(N, 5, generator=generator, dtype=torch.float64)
    return x, torch.randint(3, (N,), generator=generator)


def models(size=3):
    return [seeded(lambda: MLP((5, 8, 3)), seed).double() for seed in range(size)]


def trained(callbacks=(), *, size=3, epochs=EPOCHS, batch=BATCH, start=None, **options):
    ensemble = Ensemble(start or models(size))
    x, y = problem()
    options = {"x": x, "y": y, "orders": batch_orders(N, epochs, range(ensemble.size)), **options}
    trace = fit(
        ensemble,
        epochs=epochs,
        batch_size=batch,
        optimizer=SGD,
        schedule=cosine(),
        callbacks=callbacks,
        **options,
    )
    return ensemble, trace


def gap(a, b):
    states = zip(a.parameters.values(), b.parameters.values(), strict=True)
    return max(float((p - q).detach().abs().max()) for p, q in states)


def plain(term, seed, *, epochs=EPOCHS, base=False):
    """An own loop over the batches that member ``seed`` of the ensemble sees."""
    x, y = problem()
    model = models(seed + 1)[seed]
    optimizer, schedule = SGD(model.parameters()), cosine()
    for epoch, order in enumerate(batch_orders(N, epochs, [seed])[0]):
        optimizer.param_groups[0]["lr"] = 0.1 * schedule(epoch, epochs)
        for index in order.split(BATCH):
            logits = model(x[index])
            loss = F.cross_entropy(logits, y[index])
            extra = {"base": loss} if base else {}
            loss = loss + term(epoch, index, logits, targets=y[index], **extra)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


@pytest.mark.parametrize("lam", [2.0, BalancedLambda(0.5)])
def test_the_ensemble_equals_own_loops_one_by_one(lam):
    ensemble, _ = trained([SAF(lam=lam, distance=2, start=2)])
    assert gap(ensemble, trained()[0]) > 1e-3
    for seed, member in enumerate(ensemble.members()):
        saf = SAF(n=N, lam=lam, distance=2, start=2)
        alone = plain(saf, seed, base=isinstance(lam, BalancedLambda))
        for p, q in zip(member.parameters(), alone.parameters(), strict=True):
            assert torch.allclose(p, q, atol=1e-10)


def test_a_coefficient_for_each_member():
    mixed, _ = trained([SAF(lam=[0.0, 1.0, 3.0], distance=2, start=2)])
    for i, lam in enumerate([0.0, 1.0, 3.0]):
        alone, _ = trained([SAF(lam=lam, distance=2, start=2)])
        for name, p in mixed.parameters.items():
            assert torch.allclose(p[i], alone.parameters[name][i], atol=1e-12)
    with pytest.raises(ValueError, match="2 values"):
        trained([SAF(lam=[1.0, 2.0], distance=2, start=2)])


@pytest.mark.parametrize("saf", [{"lam": 0.0}, {"start": EPOCHS - 1}, {"lam": [0.0] * 3}])
def test_without_weight_or_before_the_start_it_is_sgd_bit_for_bit(saf):
    ensemble, trace = trained([SAF(**{"lam": 3.0, "distance": 2, "start": 2, **saf})])
    bare, bare_trace = trained()
    assert gap(ensemble, bare) == 0.0
    assert trace.cost == bare_trace.cost


def test_it_counts_strictly_between_start_and_end():
    class Watch(Callback):
        active = ()

        def on_epoch_end(self, fit):
            self.active += (fit.callbacks[0].active(fit.epoch),)

    watch = Watch()
    trained([SAF(lam=1.0, distance=2, start=3, end=6), watch])
    assert [epoch for epoch, active in enumerate(watch.active) if active] == [4, 5]


def test_the_table_equals_computing_the_past_again():
    """In full batches epoch e - 2 records the weights that epoch e - 3 ended with."""
    double = torch.float64
    table, trace = trained([SAF(lam=2.0, distance=2, start=4, dtype=double)], batch=N)
    again, again_trace = trained([RecomputedSAF(lam=2.0, distance=3, start=4)], batch=N)
    assert gap(table, again) < 1e-12
    assert gap(table, trained(batch=N)[0]) > 1e-4
    assert trace.cost.forward == trace.cost.backward == again_trace.cost.backward == EPOCHS * N
    assert again_trace.cost.forward == (EPOCHS + 3) * N


def test_ablations():
    bare = trained()[0]
    saf = {"lam": 2.0, "distance": 2, "start": 2}
    found = {
        kind: trained([SAF(**saf, **options)])[0]
        for kind, options in {
            "past": {},
            "present": {"reference": "present"},
            "another": {"reference": "another"},
            "reversed": {"reverse": True},
        }.items()
    }
    assert gap(found["present"], bare) == 0.0
    for kind in ("another", "reversed"):
        assert min(gap(found[kind], bare), gap(found[kind], found["past"])) > 1e-4
    for epoch in range(5):
        partner = SAF()._partner(epoch, 10)
        assert sorted(partner) == list(range(10)) and not (partner == torch.arange(10)).any()


def test_sams_second_pass_does_not_enter_the_table():
    saf = SAF(lam=1.0, distance=1, start=1)
    records = []

    class Watch(Callback):
        def on_logits(self, fit, logits, batch):
            if fit.step != len(records) - 1:
                records.append((fit.epoch, batch.index.clone(), logits.detach().clone()))

    trained([saf, SAM(rho=0.5), Watch()], size=1)
    for epoch, index, logits in records:
        if epoch == EPOCHS - 1:
            assert torch.equal(saf.buffer.read(EPOCHS, index)[0], logits.float())


def test_resuming_equals_going_through(tmp_path):
    class Keep:
        saved = None
        last = None

        def load(self):
            return self.saved

        def save(self, state):
            if state["epoch"] == 4:
                self.last = {
                    k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in state.items()
                }

    keep = Keep()
    whole, _ = trained([SAF(lam=2.0, distance=2, start=2)], checkpoint=keep)
    keep.saved = keep.last
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resumed, _ = trained([SAF(lam=2.0, distance=2, start=2)], checkpoint=keep)
    assert gap(whole, resumed) == 0.0
    keep.saved = {k: v for k, v in keep.last.items() if not k.startswith("callback.")}
    with pytest.warns(UserWarning, match="no trajectory loss before epoch 7"):
        trained([SAF(lam=2.0, distance=2, start=2)], checkpoint=keep)


def test_a_member_that_diverges_disturbs_no_other():
    broken = models()
    with torch.no_grad():
        next(broken[1].parameters()).mul_(torch.nan)
    ensemble, trace = trained([SAF(lam=2.0, distance=2, start=2)], start=broken)
    healthy, _ = trained([SAF(lam=2.0, distance=2, start=2)])
    assert trace.diverged.tolist() == [False, True, False]
    for i in (0, 2):
        for name, p in ensemble.parameters.items():
            assert torch.allclose(p[i], healthy.parameters[name][i], atol=1e-12)


def test_regression_and_one_callback_for_two_trainings():
    x, _ = problem()
    saf = SAF(lam=0.5, distance=1, start=1, kind="squared", dtype=torch.float64)
    options = {"y": x[:, :3], "loss": mse}
    first, _ = trained([saf], **options)
    again, _ = trained([saf], **options)
    assert gap(first, again) == 0.0 and gap(first, trained(**options)[0]) > 1e-4


def test_an_own_loop_with_a_loader_that_knows_positions():
    x, y = problem()
    model, saf = models(1)[0], SAF(n=N, lam=1.0, distance=1, start=1, top_k=1)
    loader = DataLoader(IndexedDataset(TensorDataset(x, y)), batch_size=5, shuffle=True)
    terms = [
        [
            saf(epoch, index, model(inputs), targets=targets).item()
            for inputs, targets, index in loader
        ]
        for epoch in range(3)
    ]
    assert terms[0] == terms[1] == [0.0] * 5
    # The model did not move: what is left is what the top class alone can't tell.
    assert all(0 < term < 1 for term in terms[2])


def test_balanced_lambda():
    balance = BalancedLambda(share=0.5, largest=4.0)
    base = torch.tensor([[3.0, 4.0], [3.0, 4.0], [0.0, 0.0]])
    term = torch.tensor([[0.0, 2.0], [0.0, 0.0], [0.0, 0.0]])
    assert balance(base, term).tolist() == [1.25, 4.0, 0.0]
    with pytest.raises(ValueError, match="share=-1"):
        BalancedLambda(share=-1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 2, "distance": 3}, "start=2, distance=3; allowed: start >= distance"),
        ({"distance": 0}, "distance=0"),
        ({"tau": 0.0}, "tau=0"),
        ({"lam": -0.1}, "lam=-0.1"),
        ({"lam": float("nan")}, "lam=nan"),
        ({"end": 6}, "start=5, end=6"),
        ({"kind": "cosine"}, "kind='cosine'"),
        ({"reference": "future"}, "reference='future'"),
        ({"kind": "squared", "top_k": 3}, "top_k=3"),
        ({"kind": "squared", "reverse": True}, "reverse=True"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ValueError, match=message):
        SAF(**options)


def test_bad_batches():
    logits = torch.zeros(2, 3, requires_grad=True)
    with pytest.raises(ValueError, match="n=None"):
        SAF()(0, torch.arange(2), logits)
    saf = SAF(n=4)
    with pytest.raises(ValueError, match="one position a sample"):
        saf(0, torch.arange(3), logits)
    with pytest.raises(ValueError, match="mixup"):
        saf(0, torch.arange(2), logits, targets=torch.full((2, 3), 1 / 3))
    with pytest.raises(ValueError, match=r"allowed 0\.\.3"):
        saf(0, torch.tensor([0, 4]), logits)
    saf(0, torch.arange(2), logits)
    with pytest.raises(ValueError, match="made for 3 classes"):
        saf(0, torch.arange(2), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="base=None"):
        balanced = SAF(n=2, lam=BalancedLambda(), distance=1, start=1)
        for epoch in range(3):
            balanced(epoch, torch.arange(2), logits)
    with pytest.raises(ValueError, match="mixup"):
        x, _ = problem()
        trained([SAF(lam=1.0)], y=x[:, :3], loss=mse)
