"""The smaller dense network with the same number of weights: the plainest baseline of all."""

from bisect import bisect_right
from collections.abc import Callable

import torch
from torch import nn

from overparam.compress.weights import count_weights


def smaller_width(factory: Callable[[int], nn.Module], budget: int) -> int:
    """The largest width whose network has at most ``budget`` compressible weights, by bisection.

    The networks are built on the meta device: no memory, no random numbers.

    Args:
        factory: width >= 1 to a network whose number of weights grows with the width.
        budget: number of weights of Linear, Conv and Embedding layers allowed (biases are not
            counted, as in sharing and pruning).

    Raises:
        ValueError: already width 1 has more than ``budget`` weights, or the count stops growing.

    Example:
        >>> smaller_width(lambda width: nn.Linear(10, width), 64)
        6
    """
    smallest = weight_count(factory, 1)
    if smallest > budget:
        raise ValueError(
            f"budget is {budget}; the network of width 1 has {smallest} weights already"
        )
    high = 2
    while weight_count(factory, high) <= budget:
        high *= 2
        if high > 4 * budget:
            raise ValueError(f"the factory's networks do not grow with the width (tried {high})")
    return (
        bisect_right(range(high), budget, lo=1, key=lambda width: weight_count(factory, width)) - 1
    )


def weight_count(factory: Callable[[int], nn.Module], width: int) -> int:
    """Compressible weights of the network of this width."""
    with torch.device("meta"):
        return count_weights(factory(width))
