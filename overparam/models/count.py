"""Size of a model."""

from torch import nn


def count_parameters(model: nn.Module, *, trainable: bool = False) -> int:
    """Number of parameters (of the ``trainable`` ones alone), tied tensors counted once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)
