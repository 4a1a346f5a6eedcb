from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from overparam.models import MLP, seeded
from overparam.training import SAM, Ensemble, batch_orders, fit
from overparam.training.sam import ASAM_ETA, ascent

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=1e-2)
N, EPOCHS, BATCH = 24, 4, 7


class Bowl(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
        self.b = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))

    def forward(self):
        return (4 * self.a**2 + self.b**2) / 2


def problem():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, 5, generator=generator, dtype=torch.float64)
    return x, torch.randint(3, (N,), generator=generator)


def models():
    return [seeded(lambda: MLP((5, 8, 3), norm="batch"), seed).double() for seed in range(3)]


def test_quadratic_bowl():
    bowl = Bowl()
    sam = SAM(bowl, torch.optim.SGD(bowl.parameters(), lr=1.0), rho=0.1)
    losses = []

    def closure():
        sam.base.zero_grad()
        loss = bowl()
        loss.backward()
        losses.append(loss.item())
        return loss

    assert sam.step(closure).item() == 2.5
    assert losses[1] - losses[0] == pytest.approx(0.431428, abs=1e-6)
    # The step of length 1 leads away by the gradient at the perturbed point, from (1, 1) itself.
    assert 1 - bowl.a.item() == pytest.approx(4.3881, abs=1e-4)
    assert 1 - bowl.b.item() == pytest.approx(1.0243, abs=1e-4)


def plain(seed, rho, adaptive):
    x, y = problem()
    model = models()[seed]
    sam = SAM(model, SGD(model.parameters()), rho=rho, adaptive=adaptive)
    for order in batch_orders(N, EPOCHS, [seed])[0]:
        for index in order.split(BATCH):

            def closure(index=index):
                sam.base.zero_grad()
                loss = F.cross_entropy(model(x[index]), y[index])
                loss.backward()
                return loss

            sam.step(closure)
    return model


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_ensemble_equals_own_loops_one_by_one(adaptive):
    x, y = problem()
    ensemble = Ensemble(models())
    radii = [0.05, 0.2, 1.0]
    trace = fit(
        ensemble,
        x,
        y,
        epochs=EPOCHS,
        batch_size=BATCH,
        optimizer=SGD,
        orders=batch_orders(N, EPOCHS, range(3)),
        callbacks=[SAM(rho=radii, adaptive=adaptive)],
    )
    assert trace.cost.forward == trace.cost.backward == 2 * EPOCHS * N
    for seed, member in enumerate(ensemble.members()):
        alone = plain(seed, radii[seed], adaptive).state_dict()
        for name, p in member.state_dict().items():
            assert torch.allclose(p, alone[name], atol=1e-9), name


def test_statistics_move_in_the_first_pass_alone():
    x, y = problem()
    model, once = models()[0], models()[0]
    sam = SAM(model, SGD(model.parameters()), rho=0.5)

    def closure():
        sam.base.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    sam.step(closure)
    once(x)
    for name, buffer in once.named_buffers():
        assert torch.equal(dict(model.named_buffers())[name], buffer), name


def test_ascent_steps():
    generator = torch.Generator().manual_seed(1)
    p = [torch.randn(3, 4, generator=generator), torch.randn(3, generator=generator)]
    g = [torch.randn(3, 4, generator=generator), torch.randn(3, generator=generator)]
    steps = ascent(p, g, torch.tensor([0.1, 0.2, 0.3]), stacked=True)
    for i, rho in enumerate((0.1, 0.2, 0.3)):
        length = torch.cat([s[i].reshape(-1) for s in steps]).norm()
        assert length.item() == pytest.approx(rho, rel=1e-5)
        alone = ascent([t[i] for t in p], [t[i] for t in g], rho)
        assert all(torch.allclose(s[i], a) for s, a in zip(steps, alone, strict=True))
    t = [q.abs() + ASAM_ETA for q in p]
    norm = torch.cat([(a * b).reshape(-1) for a, b in zip(t, g, strict=True)]).norm()
    for step, a, b in zip(ascent(p, g, 0.5, adaptive=True), t, g, strict=True):
        assert torch.allclose(step, 0.5 * a * a * b / norm)
    assert all((s == 0).all() for s in ascent(p, [0 * q for q in g], 0.1))


@pytest.mark.parametrize("rho", [0.0, -0.1, float("inf"), [0.1, 0.0]])
def test_bad_rho(rho):
    with pytest.raises(ValueError, match="rho="):
        SAM(rho=rho)


def test_bad_use():
    with pytest.raises(ValueError, match="needs an optimiser"):
        SAM(models()[0]).step(lambda: torch.zeros(()))
    with pytest.raises(ValueError, match="one, or 3 members'"):
        x, y = problem()
        orders = batch_orders(N, 1, range(3))
        options = {"epochs": 1, "batch_size": 8, "optimizer": SGD, "orders": orders}
        fit(Ensemble(models()), x, y, callbacks=[SAM(rho=[0.1, 0.2])], **options)
