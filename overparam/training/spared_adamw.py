"""AdamW that decays matrices and leaves vectors alone."""

from collections.abc import Sequence

import torch
from torch import nn


def spared_adamw(
    parameters: Sequence[nn.Parameter], lr: float, weight_decay: float
) -> torch.optim.AdamW:
    """AdamW for an ensemble; biases, norms, scales and shifts are spared the weight decay.

    Decay pulls towards 0, where a scale, whose neutral value is 1, has no business. As in the code
    of Lian et al. 2022 (arXiv 2210.08823, ``train.py``), whatever has one axis is spared.

    Args:
        parameters: stacked over members, (E, ...): a vector has two axes here.
        lr: learning rate.
        weight_decay: of parameters that have two axes or more in each member.

    Raises:
        ValueError: no parameters, or a negative rate or decay (from torch).

    Example:
        >>> layer = [nn.Parameter(torch.ones(4, 3, 2)), nn.Parameter(torch.ones(4, 3))]
        >>> [g["weight_decay"] for g in spared_adamw(layer, 1e-3, 0.05).param_groups]
        [0.05, 0.0]
    """
    groups = [
        {"params": [p for p in parameters if p.ndim > 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=lr)
