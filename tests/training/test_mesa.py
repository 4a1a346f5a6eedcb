from functools import partial

import pytest
import torch
import torch.nn.functional as F

from overparam.models import MLP, seeded
from overparam.training import MESA, BalancedLambda, Ensemble, batch_orders, fit

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
N, EPOCHS, BATCH = 24, 5, 7
START = {"lam": 2.0, "start": 1}


def problem():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, 5, generator=generator, dtype=torch.float64)
    return x, torch.randint(3, (N,), generator=generator)


def models(size=3, norm="batch"):
    return [seeded(lambda: MLP((5, 8, 3), norm=norm), seed).double() for seed in range(size)]


def trained(callbacks, **options):
    x, y = problem()
    ensemble = Ensemble(models())
    trace = fit(
        ensemble,
        x,
        y,
        epochs=EPOCHS,
        batch_size=BATCH,
        optimizer=SGD,
        orders=batch_orders(N, EPOCHS, range(3)),
        callbacks=callbacks,
        **options,
    )
    return ensemble, trace


def plain(seed, base=False, **options):
    x, y = problem()
    model = models()[seed]
    mesa, optimizer = MESA(model, **options), SGD(model.parameters())
    for epoch, order in enumerate(batch_orders(N, EPOCHS, [seed])[0]):
        for index in order.split(BATCH):
            logits = model(x[index])
            loss = F.cross_entropy(logits, y[index])
            extra = {"base": loss} if base else {}
            loss = loss + mesa(epoch, x[index], logits, **extra)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            mesa.update()
    return model, mesa.teacher


@pytest.mark.parametrize("lam", [2.0, BalancedLambda(0.5)])
@pytest.mark.parametrize("warm_up", [True, False])
def test_the_ensemble_equals_own_loops_one_by_one(lam, warm_up):
    options = {"lam": lam, "beta": 0.9, "warm_up": warm_up, "start": 1}
    mesa = MESA(**options)
    ensemble, _ = trained([mesa])
    averaged = mesa.averaged(ensemble).members()
    for seed, member in enumerate(ensemble.members()):
        alone = plain(seed, base=isinstance(lam, BalancedLambda), **options)
        for ours, theirs in zip((member, averaged[seed]), alone, strict=True):
            for name, p in ours.state_dict().items():
                assert torch.allclose(p, theirs.state_dict()[name], atol=1e-10), name


def test_passes():
    _, trace = trained([MESA(**START)])
    assert trace.cost.backward == EPOCHS * N
    assert trace.cost.forward == (EPOCHS + 3) * N


def test_without_weight_it_is_sgd_bit_for_bit():
    bare, _ = trained([])
    for options in ({"lam": 0.0}, {"start": EPOCHS}):
        other, trace = trained([MESA(**{**START, **options})])
        assert trace.cost.forward == EPOCHS * N
        for name, p in bare.parameters.items():
            assert torch.equal(p, other.parameters[name])


def test_closed_form_of_the_average():
    model = models(1, norm=None)[0]
    mesa = MESA(model, beta=0.9, warm_up=False)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1.0)
    for _ in range(7):
        mesa.update()
    for name, p in mesa.teacher.named_parameters():
        assert torch.allclose(p, start[name] + (1 - 0.9**7), atol=1e-12)


def test_warm_up_and_buffers():
    model = models(1)[0]
    mesa = MESA(model, beta=0.5)
    decays = []
    for _ in range(12):
        decays.append(mesa.decay)
        mesa.update()
    assert decays == [min(0.5, (1 + t) / (10 + t)) for t in range(12)] and 0.5 in decays
    model.train()
    model(problem()[0])
    before = {name: b.clone() for name, b in mesa.teacher.named_buffers()}
    mesa.update()
    for name, b in mesa.teacher.named_buffers():
        now = dict(model.named_buffers())[name]
        expected = (before[name] + now) / 2 if b.is_floating_point() else now
        assert torch.allclose(b, expected), name


def test_resuming_equals_going_through():
    class Keep:
        saved = last = None

        def load(self):
            return self.saved

        def save(self, state):
            if state["epoch"] == 2:
                self.last = {
                    k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in state.items()
                }

    keep = Keep()
    mesa = MESA(**START)
    whole, _ = trained([mesa], checkpoint=keep)
    keep.saved = keep.last
    again = MESA(**START)
    resumed, _ = trained([again], checkpoint=keep)
    assert all(torch.equal(p, resumed.parameters[name]) for name, p in whole.parameters.items())
    assert all(torch.equal(p, again.average[name]) for name, p in mesa.average.items())
    with pytest.raises(ValueError, match="no average"):
        MESA().load_state({})


@pytest.mark.parametrize("beta", [-0.1, 1.0, float("nan")])
def test_bad_beta(beta):
    with pytest.raises(ValueError, match="beta="):
        MESA(beta=beta)


def test_bad_use():
    with pytest.raises(ValueError, match="model=None"):
        MESA()(0, torch.zeros(1, 2), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="tau=0"):
        MESA(tau=0)
    with pytest.raises(ValueError, match="not finite"):
        model = models(1)[0]
        MESA(model, lam=1.0, start=0)(1, problem()[0], torch.full((N, 3), torch.nan))
