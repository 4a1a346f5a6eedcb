"""Small networks by a name that says their size."""

import math
import re
from collections.abc import Sequence

from torch import nn

from overparam.models.convnet import SmallConvNet, image_shape
from overparam.models.mlp import MLP

NETWORK_NAMES = r"conv|[1-9]\d*(x[1-9])?"
"""Regular expression of the names that :func:`named_network` takes."""


def named_network(name: str, input_shape: Sequence[int], classes: int) -> nn.Module:
    """An untrained classifier.

    Args:
        name: ``conv`` (a :class:`SmallConvNet`), or the hidden layers of an :class:`MLP`: ``32``
            is one of 32 units, ``100x2`` two of 100.
        input_shape: shape of one input; an MLP flattens it, for the other see :func:`image_shape`.
        classes: number of outputs.

    Raises:
        ValueError: another name; what the networks refuse.

    Example:
        >>> from overparam.models import count_parameters
        >>> [count_parameters(named_network(n, (64,), 10)) for n in ("32", "100x2")]
        [2410, 17610]
    """
    if not re.fullmatch(NETWORK_NAMES, name):
        raise ValueError(
            f"network {name!r}; allowed: conv, WIDTH or WIDTHxDEPTH with a depth of 1 to 9"
        )
    if name == "conv":
        return SmallConvNet(image_shape(input_shape), classes=classes)
    width, _, depth = name.partition("x")
    return MLP((math.prod(input_shape), *[int(width)] * int(depth or 1), classes))
