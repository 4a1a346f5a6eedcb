from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from overparam.models import MLP, SmallConvNet, VGGSmall, seeded
from overparam.training import (
    Callback,
    Ensemble,
    accuracy,
    batch_orders,
    cross_entropy,
    fit,
    mse,
    multistep,
    predict,
)

SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=1e-3)
NETS = {
    "mlp": lambda: MLP((64, 12, 10)),
    "batch norm": lambda: MLP((64, 12, 10), norm="batch"),
    "convolutions": lambda: SmallConvNet((1, 8, 8), (3, 4)),
    "vgg": lambda: VGGSmall((1, 8, 8), width=3),
}


def problem(n=45, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 64, generator=generator, dtype=torch.float64).to(dtype)
    return x, torch.randint(10, (n,), generator=generator)


def models_of(factory, seeds, dtype=torch.float64):
    return [seeded(factory, seed).to(dtype) for seed in seeds]


def plain_loop(model, x, y, order, batch_size, optimizer, schedule=None, smoothing=0.0):
    model.train()
    descent = optimizer(list(model.parameters()))
    rate = descent.param_groups[0]["lr"]
    for epoch, positions in enumerate(order):
        descent.param_groups[0]["lr"] = rate * (schedule(epoch, len(order)) if schedule else 1)
        for index in positions.split(batch_size):
            descent.zero_grad()
            F.cross_entropy(model(x[index]), y[index], label_smoothing=smoothing).backward()
            descent.step()
    return model.eval()


def distance(a, b):
    return max(
        float((p.double() - q.double()).abs().max())
        for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("optimizer", [SGD, partial(torch.optim.AdamW, lr=0.01)])
def test_equals_the_one_by_one_loop_in_float64(net, optimizer):
    x, y = problem()
    models, orders = models_of(NETS[net], range(3)), batch_orders(45, 10, range(3))
    ensemble, schedule = Ensemble(models), multistep()
    fit(
        ensemble,
        x,
        y,
        epochs=10,
        batch_size=20,
        optimizer=optimizer,
        orders=orders,
        schedule=schedule,
        loss=partial(cross_entropy, smoothing=0.1),
    )
    for model, order, member in zip(models, orders, ensemble.members(), strict=True):
        before = [p.clone() for p in model.parameters()]
        plain_loop(model, x, y, order, 20, optimizer, schedule, smoothing=0.1)
        assert distance(model, member) < 1e-9
        moved = zip(before, model.parameters(), strict=True)
        assert any((p - q).abs().max() > 0.01 for p, q in moved)


def test_equals_the_one_by_one_loop_over_twenty_float32_steps():
    x, y = problem(200, torch.float32)
    for factory in (NETS["mlp"], NETS["batch norm"]):
        models = models_of(factory, range(4), torch.float32)
        ensemble, orders = Ensemble(models), batch_orders(200, 2, range(4))
        trace = fit(ensemble, x, y, epochs=2, batch_size=20, optimizer=SGD, orders=orders)
        assert trace.steps == 20
        for model, order, member in zip(models, orders, ensemble.members(), strict=True):
            assert distance(plain_loop(model, x, y, order, 20, SGD), member) < 1e-5


@pytest.mark.parametrize("net", NETS)
def test_a_member_does_not_depend_on_its_company(net):
    x, y = problem()
    seeds = range(8)
    run = partial(fit, x=x, y=y, epochs=5, batch_size=20, optimizer=SGD)
    company = Ensemble(models_of(NETS[net], seeds))
    together = run(company, orders=batch_orders(45, 5, seeds))
    for i in (0, 5):
        alone = Ensemble(models_of(NETS[net], [seeds[i]]))
        trace = run(alone, orders=batch_orders(45, 5, [seeds[i]]))
        assert distance(company.members()[i], alone.members()[0]) < 1e-9
        torch.testing.assert_close(trace.train_loss[0], together.train_loss[i])


def test_data_may_be_shared_or_own_in_any_mixture():
    x, y = problem()
    orders = batch_orders(45, 3, range(3))
    results = []
    for xs in (x, x.expand(3, -1, -1).contiguous()):
        for ys in (y, y.expand(3, -1).contiguous()):
            ensemble = Ensemble(models_of(NETS["mlp"], range(3)))
            fit(ensemble, xs, ys, epochs=3, batch_size=20, optimizer=SGD, orders=orders)
            results.append(ensemble.snapshot())
    assert all(torch.equal(r[k], results[0][k]) for r in results for k in r)


def test_own_labels_reach_their_member_and_one_order_serves_all():
    x, y = problem()
    ys = torch.stack([y, (y + 1) % 10])
    order = batch_orders(45, 3, [7])
    models = models_of(NETS["convolutions"], [0, 1])
    ensemble = Ensemble(models)
    fit(ensemble, x, ys, epochs=3, batch_size=20, optimizer=SGD, orders=order)
    for model, labels, member in zip(models, ys, ensemble.members(), strict=True):
        assert distance(plain_loop(model, x, labels, order[0], 20, SGD), member) < 1e-9


@pytest.mark.parametrize("net", NETS)
def test_a_diverging_member_is_marked_and_disturbs_nobody(net):
    x, y = problem()
    orders = batch_orders(45, 4, range(3))
    healthy, mixed = (Ensemble(models_of(NETS[net], range(3))) for _ in range(2))
    with torch.no_grad():
        next(reversed(mixed.parameters.values()))[1] = torch.inf
    run = partial(fit, x=x, y=y, epochs=4, batch_size=20, optimizer=SGD, orders=orders)
    good, bad = run(healthy), run(mixed)
    assert bad.diverged.tolist() == [False, True, False] and not good.diverged.any()
    assert bad.train_loss[1].isnan().all()
    assert torch.equal(bad.train_loss[[0, 2]], good.train_loss[[0, 2]])
    for key, p in healthy.parameters.items():
        assert torch.equal(p[[0, 2]], mixed.parameters[key][[0, 2]])
        assert mixed.parameters[key][1].isnan().all()
    assert accuracy(mixed, x, y)[1] == 0


def test_a_huge_rate_diverges_and_a_last_step_into_infinity_is_seen():
    x, y = problem()
    ensemble = Ensemble([nn.Linear(64, 10).double()])

    class Explode(Callback):
        def on_step(self, run):
            if run.epoch == 1 and run.step == 6:
                with torch.no_grad():
                    run.ensemble.parameters["weight"].fill_(torch.inf)

    orders = batch_orders(45, 2, [0])
    trace = fit(
        ensemble,
        x,
        y,
        epochs=2,
        batch_size=20,
        optimizer=SGD,
        orders=orders,
        callbacks=[Explode()],
    )
    assert trace.diverged.all() and trace.train_loss[0, 0].isfinite()


class Memory:
    """A checkpoint that keeps copies, and dies after a given epoch."""

    def __init__(self, dies_at=None):
        self.saved, self.dies_at = None, dies_at

    def load(self):
        return self.saved

    def save(self, state):
        self.saved = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in state.items()}
        if state["epoch"] == self.dies_at:
            self.dies_at = None
            raise KeyboardInterrupt


class Average(Callback):
    """A callback with state: an average of the weights, and a generator that perturbs gradients."""

    def __init__(self):
        self.average, self.generator = torch.zeros(()), torch.Generator().manual_seed(3)

    def on_gradients(self, run):
        for p in run.ensemble.trainable():
            p.grad += 0.01 * torch.randn(p.shape, generator=self.generator, dtype=p.dtype)

    def on_epoch_end(self, run):
        self.average = 0.5 * self.average + run.ensemble.trainable()[0].detach().sum()
        run.stop = run.epoch == 6

    def state(self):
        return {"average": self.average, "generator": self.generator.get_state()}

    def load_state(self, state):
        self.average = state["average"]
        self.generator.set_state(state["generator"])


@pytest.mark.parametrize("optimizer", [SGD, partial(torch.optim.AdamW, lr=0.01)])
def test_resumed_equals_uninterrupted_bit_for_bit(optimizer):
    x, y = problem(dtype=torch.float32)
    orders = batch_orders(45, 8, range(2))

    def run(checkpoint, average):
        ensemble = Ensemble(models_of(NETS["batch norm"], range(2), torch.float32))
        trace = fit(
            ensemble,
            x,
            y,
            epochs=8,
            batch_size=20,
            optimizer=optimizer,
            orders=orders,
            schedule=multistep(),
            callbacks=[average],
            checkpoint=checkpoint,
        )
        return ensemble, trace, average

    whole = run(None, Average())
    memory = Memory(dies_at=4)
    with pytest.raises(KeyboardInterrupt):
        run(memory, Average())
    for _ in range(2):  # once from the middle, once from the end
        resumed = run(memory, Average())
        assert all(torch.equal(v, resumed[0].snapshot()[k]) for k, v in whole[0].snapshot().items())
        assert torch.equal(resumed[1].train_loss, whole[1].train_loss)
        assert resumed[1].train_loss.shape == (2, 7)  # stopped early
        assert (resumed[1].cost, resumed[1].steps) == (whole[1].cost, whole[1].steps)
        assert torch.equal(resumed[2].average, whole[2].average)


def test_masks_as_a_callback_keep_their_zeros():
    x, y = problem()
    ensemble = Ensemble(models_of(NETS["mlp"], range(2)))
    weight = ensemble.parameters["layers.0.weight"]
    mask = (torch.rand(weight.shape, generator=torch.Generator().manual_seed(0)) < 0.3).double()

    class Mask(Callback):
        @torch.no_grad()
        def on_epoch_start(self, run):
            weight.mul_(mask)

        def on_gradients(self, run):
            weight.grad *= mask

    start = weight.detach() * mask
    orders = batch_orders(45, 3, range(2))
    fit(ensemble, x, y, epochs=3, batch_size=20, optimizer=SGD, orders=orders, callbacks=[Mask()])
    assert torch.equal(weight * (1 - mask), torch.zeros_like(weight))
    assert ((weight - start).abs() > 1e-4).sum() > 0.9 * mask.sum()


def test_an_extra_loss_is_differentiated_and_not_recorded():
    x, y = problem()
    orders = batch_orders(45, 1, range(2))

    class Decay(Callback):
        """Half of 0.3 |w|^2 for the second member alone."""

        def on_logits(self, run, logits, batch):
            assert torch.equal(batch.y, y[batch.index])
            squares = sum(p.square().flatten(1).sum(1) for p in run.ensemble.trainable())
            return torch.tensor([0.0, 0.15], dtype=torch.float64) * squares

    models = models_of(NETS["mlp"], range(2))
    ensemble = Ensemble(models)
    plain = partial(torch.optim.SGD, lr=0.1)
    run = partial(fit, x=x, y=y, epochs=1, batch_size=45, optimizer=plain, orders=orders)
    trace = run(ensemble, callbacks=[Decay()])
    for model, order, decay, member in zip(
        models, orders, (0.0, 0.3), ensemble.members(), strict=True
    ):
        loss = F.cross_entropy(model(x[order[0]]), y[order[0]])
        torch.testing.assert_close(trace.train_loss[models.index(model), 0], loss.detach())
        plain_loop(model, x, y, order, 45, partial(plain, weight_decay=decay))
        assert distance(model, member) < 1e-12


def test_a_second_gradient_per_step_is_counted_and_leaves_statistics_alone():
    x, y = problem()
    orders = batch_orders(45, 2, [0])

    class Twice(Callback):
        def on_gradients(self, run):
            kept = {k: b.clone() for k, b in run.ensemble.buffers.items()}
            first = [p.grad.clone() for p in run.ensemble.trainable()]
            run.gradients(update_buffers=False)
            for a, p in zip(first, run.ensemble.trainable(), strict=True):
                assert torch.equal(a, p.grad)
            assert all(torch.equal(kept[k], b) for k, b in run.ensemble.buffers.items())

    for callbacks, passes in (([], 90), ([Twice()], 180)):
        ensemble = Ensemble(models_of(NETS["batch norm"], [0]))
        cost = fit(
            ensemble,
            x,
            y,
            epochs=2,
            batch_size=20,
            optimizer=SGD,
            orders=orders,
            callbacks=callbacks,
        ).cost
        assert (cost.forward, cost.backward) == (passes, passes)


def test_train_loss_is_the_sample_mean_and_progress_sees_every_epoch():
    x, y = problem()
    seen = []

    def progress(epochs):
        for epoch in epochs:
            seen.append(epoch)
            yield epoch

    frozen = partial(torch.optim.SGD, lr=0.0)
    ensemble = Ensemble(models_of(NETS["mlp"], range(2)))
    trace = fit(
        ensemble,
        x,
        y,
        epochs=3,
        batch_size=20,
        optimizer=frozen,
        orders=batch_orders(45, 3, range(2)),
        progress=progress,
    )
    expected = cross_entropy(predict(ensemble, x, shared=True), y.expand(2, -1)).detach()
    torch.testing.assert_close(trace.train_loss, expected[:, None].expand(-1, 3))
    assert seen == [0, 1, 2] and not ensemble.training


def test_accuracy_by_hand_and_in_chunks():
    x, y = problem()
    ensemble = Ensemble(models_of(NETS["vgg"], range(2)))
    ensemble.eval()
    expected = [(m(x).argmax(1) == y).double().mean().item() for m in ensemble.members()]
    for batch_size in (7, 1024):
        assert accuracy(ensemble, x, y, batch_size=batch_size).tolist() == expected
    own = accuracy(ensemble, torch.stack([x, x]), torch.stack([y, y]))
    assert own.tolist() == expected


def test_regression_with_mse():
    x, _ = problem()
    models = [seeded(lambda: nn.Linear(64, 2), s).double() for s in range(2)]
    ensemble, target = Ensemble(models), torch.stack([x[:, 0], x[:, 1]], dim=1)
    run = partial(fit, epochs=400, batch_size=45, optimizer=partial(torch.optim.SGD, lr=0.3))
    run(ensemble, x, target, orders=batch_orders(45, 400, range(2)), loss=mse)
    assert (predict(ensemble, x, shared=True) - target).abs().max() < 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"y": torch.zeros(44, dtype=torch.long)}, r"y \(44,\); expected \(N, ...\)"),
        ({"x": torch.zeros(45, 64)}, "x is torch.float32 and the parameters are torch.float64"),
        ({"orders": batch_orders(45, 2, range(3))}, r"expected int64 of shape \(2 or 1"),
        ({"orders": batch_orders(45, 1, range(2))}, "holds 1 epochs; 2 are asked for"),
        ({"orders": batch_orders(46, 2, range(2))}, r"positions in 0..44"),
        ({"optimizer": torch.optim.LBFGS}, "LBFGS, which couples"),
        ({"loss": lambda f, y: cross_entropy(f, y).sum()}, r"loss returned shape \(\)"),
    ],
)
def test_bad_input_is_refused_before_any_step(change, message):
    x, y = problem()
    ensemble = Ensemble(models_of(NETS["mlp"], range(2)))
    before = ensemble.snapshot()
    settings = {
        "x": x,
        "y": y,
        "epochs": 2,
        "batch_size": 20,
        "optimizer": SGD,
        "orders": batch_orders(45, 2, range(2)),
    }
    with pytest.raises(ValueError, match=message):
        fit(ensemble, **(settings | change))
    assert all(torch.equal(v, before[k]) for k, v in ensemble.snapshot().items())


def test_other_bad_input():
    x, y = problem()
    frozen = nn.Linear(64, 10).requires_grad_(False)
    orders = batch_orders(45, 2, [0])
    settings = {"epochs": 2, "batch_size": 20, "optimizer": SGD, "orders": orders}
    with pytest.raises(ValueError, match="nothing to train"):
        fit(Ensemble([frozen]), x.float(), y, **settings)
    with pytest.raises(TypeError, match="callbacks holds a list"):
        fit(Ensemble(models_of(NETS["mlp"], [0])), x, y, callbacks=[[]], **settings)
    memory = Memory()
    fit(Ensemble(models_of(NETS["mlp"], [0])), x, y, checkpoint=memory, **settings)
    with pytest.raises(ValueError, match="checkpoint is at epoch 1; this training has 1"):
        fit(
            Ensemble(models_of(NETS["mlp"], [0])),
            x,
            y,
            checkpoint=memory,
            **(settings | {"epochs": 1}),
        )
    with pytest.raises(ValueError, match="batch_size=0"):
        predict(Ensemble(models_of(NETS["mlp"], [0])), x, shared=True, batch_size=0)
