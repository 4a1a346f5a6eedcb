"""Samples that post-training quantisation looks at."""

from itertools import islice

from overparam.datasets import Batches, Inputs


def calibration_batches(data: Batches, samples: int, *, seed: int, size: int = 64) -> list[Inputs]:
    """Inputs of the first ``samples`` training samples in the seed's order, without labels.

    Args:
        data: training samples.
        samples: how many, >= 1, rounded up to full batches; all, if there are fewer.
        seed: of the order.
        size: samples in a batch.
    """
    if samples < 1:
        raise ValueError(f"samples is {samples}; allowed >= 1")
    count = -(-samples // size)
    return [inputs for inputs, _ in islice(data.batches(size, seed=seed), count)]
