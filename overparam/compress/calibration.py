"""Training samples that a compressor looks at."""

from itertools import islice

from torch import Tensor

from overparam.datasets import Batches, Inputs


def labelled_batches(
    data: Batches, samples: int, *, seed: int, size: int = 64
) -> list[tuple[Inputs, Tensor]]:
    """The first ``samples`` training samples in the seed's order, rounded up to full batches.

    Args:
        data: training samples.
        samples: how many, >= 1; all, if there are fewer.
        seed: of the order.
        size: samples in a batch.
    """
    if samples < 1:
        raise ValueError(f"samples is {samples}; allowed >= 1")
    return list(islice(data.batches(size, seed=seed), -(-samples // size)))


def calibration_batches(data: Batches, samples: int, *, seed: int, size: int = 64) -> list[Inputs]:
    """The inputs of :func:`labelled_batches`."""
    return [inputs for inputs, _ in labelled_batches(data, samples, seed=seed, size=size)]
