"""Cost of the sensing operator against a loop over the measurements."""

import time

import numpy as np

from overparam.datasets.matrix_sensing import SensingOperator, low_rank_ground_truth
from overparam.training.factored_gd import factored_gd, random_factors


def best_of(call, repeat):
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def test_gradient_is_much_faster_than_a_loop_over_measurements(record_property):
    op = SensingOperator((20, 20), 400, seed=0)
    M = low_rank_ground_truth(20, 20, 4, seed=1)
    matrices = op.matrices.reshape(400, 20, 20)

    def loop():
        total = np.zeros((20, 20))
        for A in matrices:
            total += (A * M).sum() * A
        return total

    np.testing.assert_allclose(loop(), op.normal(M), rtol=1e-9, atol=1e-12)
    ratio = best_of(loop, 5) / best_of(lambda: op.normal(M), 50)
    record_property("loop_over_measurements_divided_by_operator", ratio)
    assert ratio > 30


def test_seeds_and_starts_in_one_batch_cost_less_than_one_by_one(record_property):
    seeds, alphas, steps = range(5), (0.5, 0.3, 0.15), 200
    op = SensingOperator((20, 20), 400, seed=seeds)
    M = low_rank_ground_truth(20, 20, 2, seed=seeds)
    starts = [random_factors((20, 20), 4, alpha, seed=seeds) for alpha in alphas]
    init = [np.stack(factors, axis=1) for factors in zip(*starts, strict=True)]
    y = op.forward(M)
    singles = [SensingOperator((20, 20), 400, seed=s) for s in seeds]

    def together():
        factored_gd(op, y, init, 0.1, steps, record_at=[])

    def one_by_one():
        for s, single in enumerate(singles):
            for a in range(len(alphas)):
                factored_gd(single, y[s], [f[s, a] for f in init], 0.1, steps, record_at=[])

    together(), one_by_one()  # the Gram matrices are formed once
    ratio = best_of(one_by_one, 2) / best_of(together, 3)
    record_property("one_by_one_divided_by_batch", ratio)
    assert ratio > 1.5
