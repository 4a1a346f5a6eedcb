"""A model that is nothing but a parameter vector and outputs the sums of its groups."""

import torch
from torch import Tensor, nn


class GroupSums(nn.Module):
    """theta in R^D, zero at the start; ``forward() = `` sums of consecutive groups, (groups,).

    The toy model of Li et al. 2018, section 2: its loss against targets 1..groups is
    ``overparam.theory.group_sum_loss``.

    Args:
        size: D.
        groups: Number of groups, a divisor of D.
        dtype: Floating-point type; optimisers stall above 1e-6 in float32 on ill-conditioned draws.

    Raises:
        ValueError: ``groups`` is below 1 or does not divide ``size``.
    """

    def __init__(
        self, size: int = 1000, groups: int = 10, dtype: torch.dtype = torch.float64
    ) -> None:
        super().__init__()
        if groups < 1 or size < 1 or size % groups:
            raise ValueError(f"groups must be a divisor of size = {size}, got {groups}")
        self.groups = groups
        self.theta = nn.Parameter(torch.zeros(size, dtype=dtype))

    def forward(self) -> Tensor:
        return self.theta.view(self.groups, -1).sum(dim=1)
