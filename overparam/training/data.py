"""Training data of an ensemble, shared or one set per member, gathered batch by batch."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """One batch of every member.

    Attributes:
        index: (E, B) positions of the samples in the data; (1, B) when all members share the batch.
        x: inputs (E, B, ...), or (B, ...) when ``shared``.
        y: targets (E, B, ...).
        shared: one x for all members.
    """

    index: Tensor
    x: Tensor
    y: Tensor
    shared: bool


class MemberData:
    """x and y of E members; what is shared is stored once, each batch is gathered by its indices.

    Args:
        x: inputs (N, ...) for all members or (E, N, ...).
        y: targets (N, ...) for all members or (E, N, ...). x and y need not be alike in this.
        size: number of members E.

    Raises:
        ValueError: no reading of the two shapes gives both the same number of samples N. (Where E =
            N would allow several readings, one set per member goes first.)
    """

    def __init__(self, x: Tensor, y: Tensor, size: int) -> None:
        readings = [
            (x_own, y_own)
            for x_own in (True, False)
            for y_own in (True, False)
            if _samples(x, x_own, size) is not None
            and _samples(x, x_own, size) == _samples(y, y_own, size)
        ]
        if not readings:
            raise ValueError(
                f"x has shape {tuple(x.shape)} and y {tuple(y.shape)}; expected (N, ...) for all "
                f"members or ({size}, N, ...) for each of the {size}, with the same N >= 1"
            )
        self.x, self.y, self.size = x, y, size
        self.x_own, self.y_own = readings[0]
        self.n = x.shape[1] if self.x_own else x.shape[0]

    def batch(self, index: Tensor) -> Batch:
        """The samples at ``index`` (E, B), or (1, B) for the same positions in every member."""
        shared = index.shape[0] == 1 and not self.x_own
        return Batch(
            index=index,
            x=_take(self.x, index, self.x_own, self.size)[0]
            if shared
            else _take(self.x, index, self.x_own, self.size),
            y=_take(self.y, index, self.y_own, self.size).expand(
                self.size, *([-1] * (self.y.ndim + (0 if self.y_own else 1) - 1))
            ),
            shared=shared,
        )


def _samples(t: Tensor, own: bool, size: int) -> int | None:
    if not own:
        return t.shape[0] if t.ndim and t.shape[0] else None
    return t.shape[1] if t.ndim >= 2 and t.shape[0] == size and t.shape[1] else None


def _take(t: Tensor, index: Tensor, own: bool, size: int) -> Tensor:
    """Rows of t at index (E or 1, B), as (E or 1, B, ...); flat row numbers make it one gather."""
    if own:
        offsets = torch.arange(size, device=t.device).unsqueeze(1) * t.shape[1]
        index = index + offsets
        t = t.flatten(0, 1)
    return t.index_select(0, index.reshape(-1)).view(*index.shape, *t.shape[1:])
