"""Targets of a regression in units of their own spread."""

from dataclasses import dataclass

import torch
from torch import Tensor

from overparam.datasets import Batches

ROWS = 1024


@dataclass(frozen=True)
class TargetScale:
    r"""A network learns :math:`(y - m) / s`, and :math:`s\,o + m` of its outputs are the values.

    An optimiser like Adam takes steps of about the learning rate, whatever the loss is measured in:
    a network whose outputs begin near 0 would need 10^7 of them, of 10^-3, to reach a price of
    10^4.

    Attributes:
        mean: m, one number, or one per column of targets (N, k).
        deviation: s > 0, as many.

    Example:
        >>> scale = TargetScale((100.0,), (10.0,))
        >>> scale.standard(torch.tensor([90.0, 120.0])), scale.original(torch.tensor([-1.0]))
        (tensor([-1.,  2.]), tensor([90.], dtype=torch.float64))
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.deviation) or min(self.deviation) <= 0:
            raise ValueError(
                f"mean is {self.mean}, deviation {self.deviation}; allowed: as many numbers, at "
                "least one, deviations > 0"
            )

    def standard(self, targets: Tensor) -> Tensor:
        """Targets (N,) or (N, ...) as the network learns them, in their own type."""
        mean, deviation = (targets.new_tensor(v) for v in (self.mean, self.deviation))
        return (targets - mean) / deviation

    def original(self, outputs: Tensor) -> Tensor:
        """Outputs of the network in the targets' units, float64; of several columns (N, k)."""
        values = outputs.double()
        if len(self.mean) > 1:
            values = values.reshape(-1, len(self.mean))
        mean, deviation = (values.new_tensor(v) for v in (self.mean, self.deviation))
        return values * deviation + mean


def target_scale(data: Batches) -> TargetScale:
    """Mean and deviation of the targets, per column of (N, k), else of all numbers.

    One pass, by the update of Chan, Golub & LeVeque (*Algorithms for computing the sample
    variance*, 1983, Eq. 2.1), which takes no difference of large sums. Constant targets get 1.

    Example:
        >>> from overparam.datasets import InMemory
        >>> target_scale(InMemory(torch.zeros(2, 1), torch.tensor([90.0, 110.0])))
        TargetScale(mean=(100.0,), deviation=(10.0,))
    """
    count = 0
    mean = squares = largest = torch.zeros(1, dtype=torch.float64)
    for _, targets in data.batches(ROWS):
        part = targets.double()
        part = part if part.ndim == 2 else part.reshape(-1, 1)
        own, total = part.mean(0), count + len(part)
        delta = own - mean
        squares = squares + ((part - own) ** 2).sum(0) + delta**2 * count * len(part) / total
        mean = mean + delta * len(part) / total
        largest = torch.maximum(largest, part.abs().amax(0))
        count = total
    deviation = (squares / count).sqrt()
    # Rounding can leave a tiny deviation in constant targets, which must not be blown up.
    constant = deviation <= 10 * torch.finfo(torch.float64).eps * largest
    deviation = torch.where(constant, 1.0, deviation)
    return TargetScale(tuple(mean.tolist()), tuple(deviation.tolist()))
