"""Learning-rate factors by epoch: ``schedule(epoch, epochs)`` multiplies the optimiser's rate."""

import math
from collections.abc import Callable, Sequence

Schedule = Callable[[int, int], float]


def constant() -> Schedule:
    """The factor 1 in every epoch."""
    return lambda epoch, epochs: 1.0


def multistep(drops: Sequence[float] = (0.6, 0.85), factor: float = 0.1) -> Schedule:
    """Multiply the rate by ``factor`` from each of the given fractions of the training on.

    Args:
        drops: fractions of all epochs, each in (0, 1).
        factor: what a drop multiplies with, in (0, 1].

    Raises:
        ValueError: a fraction or the factor is out of range.

    Example:
        >>> [round(multistep()(epoch, 20), 3) for epoch in (0, 11, 12, 16, 17)]
        [1.0, 1.0, 0.1, 0.1, 0.01]
    """
    if any(not 0 < drop < 1 for drop in drops):
        raise ValueError(f"drops={tuple(drops)}; allowed: fractions between 0 and 1")
    if not 0 < factor <= 1:
        raise ValueError(f"factor={factor}; allowed 0 < factor <= 1")

    def schedule(epoch: int, epochs: int) -> float:
        return factor ** sum(epoch >= drop * epochs - 1e-9 for drop in drops)

    return schedule


def cosine(warmup: int = 0, floor: float = 0.0) -> Schedule:
    r"""Linear warm-up, then half a cosine down towards ``floor`` (Loshchilov and Hutter, 2017, eq.
    5).

    .. math:: \eta_t = \text{floor} + (1 - \text{floor})\,\tfrac12
              \left(1 + \cos\pi\frac{t - w}{T - w}\right), \qquad \eta_t = \frac{t + 1}{w + 1}
              \text{ for } t < w

    Args:
        warmup: number w of warm-up epochs.
        floor: factor that the cosine would reach at epoch T, in [0, 1).

    Raises:
        ValueError: an argument is out of range, or (when called) the warm-up fills all epochs.

    Example:
        >>> [round(cosine()(epoch, 4), 3) for epoch in range(4)]
        [1.0, 0.854, 0.5, 0.146]
    """
    if warmup < 0:
        raise ValueError(f"warmup={warmup}; allowed >= 0")
    if not 0 <= floor < 1:
        raise ValueError(f"floor={floor}; allowed 0 <= floor < 1")

    def schedule(epoch: int, epochs: int) -> float:
        if warmup >= epochs:
            raise ValueError(f"warmup={warmup} must be smaller than the {epochs} epochs")
        if epoch < warmup:
            return (epoch + 1) / (warmup + 1)
        angle = math.pi * (epoch - warmup) / (epochs - warmup)
        return floor + (1 - floor) * 0.5 * (1 + math.cos(angle))

    return schedule
