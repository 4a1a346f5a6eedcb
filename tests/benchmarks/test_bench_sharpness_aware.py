"""What SAF, MESA and SAM cost beside SGD, ratios within one run; the table's memory; Lanczos."""

import time
from functools import partial
from statistics import median

import pytest
import torch
import torch.nn.functional as F

from overparam.measure import hessian_top_eigenvalues
from overparam.models import MLP, SmallConvNet, seeded
from overparam.training import (
    MESA,
    SAF,
    SAM,
    Callback,
    Ensemble,
    TrajectoryBuffer,
    batch_orders,
    fit,
)

pytestmark = pytest.mark.benchmark(group="sharpness-aware")
N = 1797
X = torch.rand(N, 64, generator=torch.Generator().manual_seed(0))
Y = torch.arange(N) % 10
NETS = {
    "mlp": (lambda: MLP((64, 128, 128, 10)), 32),
    "conv": (lambda: SmallConvNet((1, 8, 8), (32, 64)), 128),
}
METHODS = ("sgd", "saf", "mesa", "sam")


def stepper(method, net):
    """One step of an own loop, in an epoch in which the trajectory loss counts."""
    factory, batch = NETS[net]
    model = seeded(factory, 0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    saf, mesa = SAF(n=N, lam=1.0, distance=3, start=3), MESA(model, lam=1.0, start=3)
    for epoch in range(4):
        saf(epoch, torch.arange(N), model(X))
    sam = SAM(model, optimizer, rho=0.1)
    orders = torch.randperm(N, generator=torch.Generator().manual_seed(1))

    def loss_of(index):
        logits = model(X[index])
        loss = F.cross_entropy(logits, Y[index])
        if method == "saf":
            loss = loss + saf(4, index, logits, targets=Y[index])
        if method == "mesa":
            loss = loss + mesa(4, X[index], logits)
        optimizer.zero_grad()
        loss.backward()
        return loss

    def step():
        index = orders[:batch]
        if method == "sam":
            sam.step(lambda: loss_of(index))
            return
        loss_of(index)
        optimizer.step()
        if method == "mesa":
            mesa.update()

    return step


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("method", METHODS)
def test_step(benchmark, method, net):
    benchmark(stepper(method, net))


class Clock(Callback):
    """Processor time of every step in epochs in which the trajectory loss counts."""

    def __init__(self):
        self.steps, self.last = [], 0.0

    def on_epoch_start(self, fit):
        self.last = time.process_time()

    def on_step(self, fit):
        now = time.process_time()
        if fit.epoch >= 2:
            self.steps.append(now - self.last)
        self.last = now


@pytest.mark.parametrize(("net", "most"), [("mlp", 1.5), ("conv", 1.15)])
def test_saf_costs_about_as_much_as_sgd_and_sam_twice(net, most):
    """Median step of the common loop, the methods in turns."""
    factory, batch = NETS[net]
    started = {"distance": 1, "start": 1}
    methods = {
        "sgd": Callback,
        "saf": lambda: SAF(lam=1.0, **started),
        "mesa": lambda: MESA(lam=1.0, start=1),
        "sam": lambda: SAM(rho=0.1),
    }
    clocks = {method: Clock() for method in methods}
    for _ in range(4):
        for method, callback in methods.items():
            fit(
                Ensemble([seeded(factory, 0)]),
                X[:512],
                Y[:512],
                epochs=4,
                batch_size=batch,
                optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9),
                orders=batch_orders(512, 4, [0]),
                callbacks=[callback(), clocks[method]],
            )
    middle = {method: median(clock.steps) for method, clock in clocks.items()}
    ratios = {method: middle[method] / middle["sgd"] for method in methods}
    print(net, {method: round(ratio, 2) for method, ratio in ratios.items()})
    assert ratios["saf"] < most
    assert ratios["sam"] > 1.6


@pytest.mark.parametrize("storage", ["float32", "float16", "top-32"])
def test_table_of_a_thousand_classes(benchmark, storage):
    options = {
        "float32": {},
        "float16": {"dtype": torch.float16},
        "top-32": {"dtype": torch.float16, "top_k": 32},
    }[storage]
    n, classes, distance = 2000, 1000, 3
    buffer = TrajectoryBuffer(n, classes, distance, **options)
    logits, index = torch.randn(256, classes), torch.randperm(n)[:256]

    def write_and_read():
        buffer.write(3, index, logits)
        return buffer.read(6, index)

    benchmark.pedantic(write_and_read, rounds=20, warmup_rounds=2)
    # Tags besides: 4 bytes a row. A top-32 row is 33 halves and 32 short integers.
    per_row = {"float32": 4 * classes, "float16": 2 * classes, "top-32": 2 * 33 + 2 * 32}[storage]
    assert buffer.bytes == n * (distance + 1) * (per_row + 4)


def test_largest_eigenvalue(benchmark):
    model = seeded(NETS["mlp"][0], 0)
    found = benchmark.pedantic(
        lambda: hessian_top_eigenvalues(model, F.cross_entropy, (X, Y)), rounds=3
    )
    assert found[0] > 0
