"""What a callback keeps beside the network, in bytes."""

from functools import partial

import torch

from overparam.models import MLP, seeded
from overparam.training.ensemble import Ensemble
from overparam.training.fit import fit
from overparam.training.orders import batch_orders
from overparam.training.running import Callback


def state_bytes(callback: Callback) -> int:
    """Bytes of all tensors in a callback's state: the memory that a method takes for itself.

    SAF keeps past outputs, which grow with the data; MESA an averaged network, which does not.

    Example:
        >>> state_bytes(Callback())
        0
    """
    kept = (value for value in callback.state().values() if isinstance(value, torch.Tensor))
    return sum(tensor.numel() * tensor.element_size() for tensor in kept)


def state_bytes_after(
    callback: Callback, samples: int, *, features: int = 64, classes: int = 10
) -> int:
    """:func:`state_bytes` once a small network has been trained on so many samples for an epoch.

    Two numbers of samples tell whether a method's memory grows with the data.

    Args:
        callback: the method; it is spent afterwards.
        samples: n.
        features: inputs of the network, one hidden layer of 16 units.
        classes: its outputs.

    Raises:
        ValueError: samples, features or classes below 1.

    Example:
        >>> from overparam.training import SAF
        >>> [state_bytes_after(SAF(), n) for n in (64, 128)]
        [11264, 22528]
    """
    if min(samples, features, classes) < 1:
        raise ValueError(
            f"samples={samples}, features={features}, classes={classes}; allowed: each >= 1"
        )
    fit(
        Ensemble([seeded(lambda: MLP((features, 16, classes)), 0)]),
        torch.zeros(1, samples, features),
        torch.zeros(1, samples, dtype=torch.long),
        epochs=1,
        batch_size=32,
        optimizer=partial(torch.optim.SGD, lr=0.1),
        orders=batch_orders(samples, 1, (0,)),
        callbacks=[callback],
    )
    return state_bytes(callback)
