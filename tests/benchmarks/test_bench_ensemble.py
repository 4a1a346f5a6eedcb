"""How much faster an ensemble trains than an efficient loop over the same members and batches."""

import copy
import statistics
import time
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from overparam.datasets import Standardizer, digits, stratified_split
from overparam.models import MLP, SmallConvNet, seeded
from overparam.training import Ensemble, batch_orders, fit

SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9)


def loop(models, x, y, orders, batch_size):
    for model, order in zip(models, orders, strict=True):
        optimizer = SGD(model.parameters())
        for positions in order:
            for index in positions.split(batch_size):
                optimizer.zero_grad(set_to_none=True)
                F.cross_entropy(
                    model(x.index_select(0, index)), y.index_select(0, index)
                ).backward()
                optimizer.step()


def seconds(call):
    start = time.process_time()
    call()
    return time.process_time() - start


@pytest.mark.parametrize("batch_size", [32, 100])
@pytest.mark.parametrize(
    ("factory", "size", "required"),
    [(partial(MLP, (64, 64, 10)), 32, 2.5), (SmallConvNet, 8, 1.5)],
    ids=["32 MLPs 64-64-10", "8 small CNNs"],
)
def test_ensemble_against_loop(benchmark, factory, size, required, batch_size):
    data = digits()
    (train,) = stratified_split(data.y, (1000,), seed=0)
    x = torch.from_numpy(Standardizer.fit(data.x[train])(data.x[train]))
    y = torch.from_numpy(data.y[train])
    models = [seeded(factory, seed) for seed in range(size)]
    orders = batch_orders(len(x), 1, range(size))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def ensemble():
        run = Ensemble(models)
        fit(run, x, y, epochs=1, batch_size=batch_size, optimizer=SGD, orders=orders)

    try:
        ratios = []
        for _ in range(5):  # interleaved, so that a busy machine slows both
            copies = copy.deepcopy(models)
            alone = seconds(lambda: loop(copies, x, y, orders, batch_size))  # noqa: B023
            ratios.append(alone / seconds(ensemble))
        benchmark.pedantic(ensemble, rounds=3)
    finally:
        torch.set_num_threads(threads)
    benchmark.extra_info["times_faster_than_the_loop"] = statistics.median(ratios)
    assert statistics.median(ratios) >= required
