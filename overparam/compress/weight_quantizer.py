"""A weight on a grid whose rounding can be learned."""

import warnings
from typing import Literal

import torch
from torch import Tensor, nn

from overparam.compress.quantisation_grid import Grid, clipped_grid
from overparam.compress.quantised_weight import per_entry

STRETCH = 1.2
"""Width of the stretched sigmoid, which reaches 0 and 1 (AdaRound: zeta - gamma)."""


def soft_rounding(logits: Tensor) -> Tensor:
    r"""Rectified sigmoid :math:`h(V) = \mathrm{clip}(1.2\,\sigma(V) - 0.1,\ 0,\ 1)`.

    AdaRound (Nagel et al. 2020), equation 23.
    """
    return (STRETCH * torch.sigmoid(logits) - (STRETCH - 1) / 2).clamp(0, 1)


def rounding_logits(fraction: Tensor) -> Tensor:
    r"""The V with :math:`h(V) = r`.

    :math:`V = -\log(1.2/(r + 0.1) - 1) = 2\,\mathrm{artanh}((2r - 1)/1.2)`;
    the second form has the sign of :math:`r - 1/2` exactly.

    Example:
        >>> [round(float(v), 4) for v in rounding_logits(torch.tensor([0.0, 0.25, 0.5, 0.9]))]
        [-2.3979, -0.8873, 0.0, 1.6094]
    """
    return 2 * torch.atanh((2 * fraction - 1) / STRETCH)


class WeightQuantizer(nn.Module):
    r"""The integers of one weight: nearest, softly rounded while they are learned, or hard.

    Per output channel, asymmetric, clipped by :func:`clipped_grid`. Learned rounding keeps the base
    :math:`\lfloor w/\delta_0 \rfloor` of the initial scale and learns V and :math:`\delta` together
    (as GENIE-M): the weight is

    .. math:: (\mathrm{clip}(\lfloor w/\delta_0 \rfloor + h(V) + z, 0, 2^{bits}-1) - z)\,\delta,

    in hard mode with :math:`1[V \ge 0]` in place of h(V). Exact zeros of the weight stay zero in
    every mode.

    Args:
        weight: (O, ...), real floating; only read.
        bits: 2..8.
        power: of the clip search.

    Raises:
        ValueError: as :func:`clipped_grid`.

    Warns:
        UserWarning: a channel is all zero; its scale is 1.
    """

    zero: Tensor
    codes: Tensor
    base: Tensor
    kept: Tensor

    def __init__(self, weight: Tensor, bits: int, power: float = 2.4) -> None:
        super().__init__()
        grid = clipped_grid(weight, bits, power)
        empty = ~(weight.detach() != 0).flatten(1).any(1)
        if bool(empty.any()):
            warnings.warn(
                f"{int(empty.sum())} of {len(empty)} channels of a weight are all zero; "
                "their scale is 1",
                UserWarning,
                stacklevel=2,
            )
        self.bits = bits
        self.mode: Literal["nearest", "soft", "hard"] = "nearest"
        self.scale = nn.Parameter(grid.scale)
        self.register_buffer("zero", grid.zero)
        self.register_buffer("codes", grid.codes(weight))

    @property
    def grid(self) -> Grid:
        """The levels, with the scale as it is now."""
        return Grid(self.scale.detach(), self.zero, self.bits)

    def soften(self, weight: Tensor) -> None:
        """Begin to learn the rounding of ``weight`` (the one the quantiser was made for)."""
        weight = weight.detach()
        scaled = weight / per_entry(self.scale.detach(), weight.shape, None)
        base = scaled.floor()
        self.register_buffer("base", base)
        self.register_buffer("kept", weight != 0)
        self.logits = nn.Parameter(rounding_logits(scaled - base))
        self.mode = "soft"

    @torch.no_grad()
    def harden(self) -> None:
        """End it: each entry goes up or down, whichever its V is nearer to."""
        if self.mode != "soft":
            raise RuntimeError(f"harden() needs soft rounding; the mode is {self.mode!r}")
        self.codes = self._on_grid((self.logits >= 0).to(self.base.dtype)).to(torch.uint8)
        del self.base, self.kept, self.logits
        self.mode = "hard"

    def forward(self) -> Tensor:
        """The weight as it reads now; in soft mode differentiable in V and the scale."""
        scale = per_entry(self.scale, self.codes.shape, None)
        zero = per_entry(self.zero, self.codes.shape, None).to(scale.dtype)
        if self.mode == "soft":
            return (self._on_grid(soft_rounding(self.logits)) - zero) * scale
        return (self.codes.to(scale.dtype) - zero) * scale

    def _on_grid(self, up: Tensor) -> Tensor:
        zero = per_entry(self.zero, up.shape, None).to(up.dtype)
        rounded = (self.base + up + zero).clamp(0, 2**self.bits - 1)
        return torch.where(self.kept, rounded, zero)
