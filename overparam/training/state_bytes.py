"""What a callback keeps beside the network, in bytes."""

import torch

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
