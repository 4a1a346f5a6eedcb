"""Evenly spaced levels for a weight: scales and zero points by range or by a clip search."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from overparam.compress.packing import check_bits
from overparam.compress.quantised_weight import dequantise_codes, per_entry

Levels = Literal["symmetric", "asymmetric", "clipped"]


@dataclass(frozen=True)
class Grid:
    r"""The levels :math:`(k - z)\,\delta`, k = 0..2^bits - 1, that a weight (O, ...) is rounded to.

    Attributes:
        scale: :math:`\delta > 0`; () per tensor, (O,) per channel, (O, groups) per group.
        zero: z, uint8 of the scale's shape. It is a level, so an exact zero stays one.
        bits: 2..8.
        group: columns of the weight seen as (O, K) that share a scale, or ``None``.
        signed: z is :math:`2^{bits-1}`, and rounding happens around 0 before z is added.
    """

    scale: Tensor
    zero: Tensor
    bits: int
    group: int | None = None
    signed: bool = False

    def codes(self, weight: Tensor) -> Tensor:
        r""":math:`\mathrm{clip}(\mathrm{round}(w \delta^{-1} + z), 0, 2^{bits}-1)` as uint8.

        Half to even, and multiplied by the reciprocal, as ``torch.quantize_per_channel`` does:
        at 8 bits the integers equal its own (for signed ones, up to the offset z).
        """
        work = _working_dtype(weight)
        inverse = per_entry(1 / self.scale.to(work), weight.shape, self.group)
        zero = per_entry(self.zero, weight.shape, self.group).to(work)
        scaled = weight.detach().to(work) * inverse
        rounded = scaled.round() + zero if self.signed else (scaled + zero).round()
        return rounded.clamp(0, 2**self.bits - 1).to(torch.uint8)

    def values(self, codes: Tensor) -> Tensor:
        """The levels that integers (O, ...) stand for."""
        return dequantise_codes(codes, self.scale, self.zero, self.group)


def minmax_grid(
    weight: Tensor,
    bits: int,
    *,
    symmetric: bool = True,
    per: Literal["tensor", "channel", "group"] = "channel",
    group: int | None = None,
) -> Grid:
    r"""Levels that cover the whole range of each part of the weight, 0 included.

    Symmetric: :math:`\delta = \max|w| / (2^{bits-1} - 1)` and the codes
    :math:`-(2^{bits-1}-1) .. 2^{bits-1}-1`, stored with the offset :math:`z = 2^{bits-1}`.
    Asymmetric: :math:`\delta = (\max(w,0) - \min(w,0)) / (2^{bits} - 1)` and
    :math:`z = \mathrm{round}(-\min(w,0)/\delta)`.

    Args:
        weight: (O, ...), real floating; per channel means per entry of its first axis.
        bits: 2..8.
        symmetric: see above.
        per: what shares a scale.
        group: for ``per="group"``, how many neighbouring columns of the weight seen as (O, K); the
            last group of a row may be smaller.

    Raises:
        ValueError: ``bits`` or ``group`` out of range, ``group`` given or missing where ``per``
            says otherwise, an entry that is not finite, an empty weight.

    Example:
        >>> grid = minmax_grid(torch.tensor([[-1.0, 0.5]]), 2, symmetric=False)
        >>> grid.scale.tolist(), grid.zero.tolist()
        ([0.5], [2])
    """
    check_bits(bits)
    if per not in ("tensor", "channel", "group"):
        raise ValueError(f"per is {per!r}; allowed 'tensor', 'channel', 'group'")
    if (per == "group") != (group is not None):
        raise ValueError(f"group is {group} with per={per!r}; a group goes with per='group'")
    parts = _parts(weight, group)
    if per == "tensor":
        parts = parts.flatten()
    low, high = parts.amin(-1).clamp(max=0), parts.amax(-1).clamp(min=0)
    if symmetric:
        half = 2 ** (bits - 1)
        scale = _positive(torch.maximum(-low, high) / (half - 1), weight.dtype)
        zero = torch.full_like(scale, half, dtype=torch.uint8)
    else:
        scale = _positive((high - low) / (2**bits - 1), weight.dtype)
        zero = _zero_point(low, scale.to(low.dtype), bits)
    return Grid(scale, zero, bits, group, signed=symmetric)


def clipped_grid(
    weight: Tensor, bits: int, power: float = 2.4, *, group: int | None = None
) -> Grid:
    r"""Asymmetric levels per channel whose range is clipped where that lowers the error.

    Of :math:`\delta = c(\max - \min)/(2^{bits}-1)`, :math:`z = \mathrm{round}(-c\min/\delta)`, c =
    1.00, 0.99, .., 0.01, the one with the smallest mean :math:`|w - q(w)|^{power}` of the channel
    or group; a smaller c must be strictly better. The range is widened to hold 0 (where all
    weights have one sign), so that z is a level.

    The search ends for a channel once what the clipping takes off its largest or smallest weight
    costs, alone, as much as the best c so far; that cost only grows as c falls.

    Args:
        weight: (O, ...), real floating.
        bits: 2..8.
        power: of the error, > 0.
        group: columns of the weight seen as (O, K) that share a scale; ``None``: all.

    Raises:
        ValueError: ``bits``, ``power`` or ``group`` out of range, an entry that is not finite, an
            empty weight.
    """
    check_bits(bits)
    if not power > 0:
        raise ValueError(f"power is {power}; allowed > 0")
    parts = _parts(weight, group)
    rows = parts.flatten(0, -2)
    low, high = rows.amin(1).clamp(max=0), rows.amax(1).clamp(min=0)
    top = 2**bits - 1
    whole = _positive((high - low) / top, rows.dtype)
    zero = _zero_point(low, whole, bits)
    best = whole.clone()
    lowest = torch.full_like(whole, torch.inf)
    active = torch.arange(len(rows), device=rows.device)
    for percent in range(100, 0, -1):
        grid = Grid(_positive(whole[active] * (percent / 100), rows.dtype), zero[active], bits)
        part = rows[active]
        # Sums, since zeros that fill the last group count as entries but cost nothing.
        error = (part - grid.values(grid.codes(part))).abs().pow(power).sum(1)
        better = error < lowest[active]
        best[active[better]] = grid.scale[better]
        lowest[active[better]] = error[better]
        cut_high = high[active] - (top - grid.zero.to(rows.dtype)) * grid.scale
        cut_low = -low[active] - grid.zero.to(rows.dtype) * grid.scale
        least = torch.maximum(cut_high, cut_low).clamp(min=0).pow(power)
        active = active[least < lowest[active]]
        if not len(active):
            break
    shape = parts.shape[:-1]
    return Grid(_positive(best, weight.dtype).view(shape), zero.view(shape), bits, group)


def make_grid(
    weight: Tensor, bits: int, *, levels: Levels = "symmetric", group: int | None = None
) -> Grid:
    """Levels per channel, or per ``group`` of columns, by name.

    Args:
        weight: (O, ...), real floating.
        bits: 2..8.
        levels: ``"symmetric"`` or ``"asymmetric"``: :func:`minmax_grid`; ``"clipped"``:
            :func:`clipped_grid`.
        group: columns that share a scale; ``None``: all.

    Raises:
        ValueError: unknown ``levels``, and as these.
    """
    if levels == "clipped":
        return clipped_grid(weight, bits, group=group)
    if levels not in ("symmetric", "asymmetric"):
        raise ValueError(f"levels is {levels!r}; allowed 'symmetric', 'asymmetric', 'clipped'")
    per: Literal["channel", "group"] = "channel" if group is None else "group"
    return minmax_grid(weight, bits, symmetric=levels == "symmetric", per=per, group=group)


def _parts(weight: Tensor, group: int | None) -> Tensor:
    # Rows (O, K), or (O, groups, group): zeros that fill the last group change no range, since all
    # ranges reach to 0 anyway.
    if group is not None and group < 1:
        raise ValueError(f"group is {group}; allowed >= 1")
    if weight.ndim < 2 or not weight.numel() or not weight.is_floating_point():
        raise ValueError(
            f"weight has shape {tuple(weight.shape)} and dtype {weight.dtype}; "
            "allowed is a non-empty real floating tensor (O, ...) of two or more axes"
        )
    if not bool(weight.isfinite().all()):
        raise ValueError("weight has entries that are NaN or infinite")
    rows = weight.detach().to(_working_dtype(weight)).flatten(1)
    if group is None:
        return rows
    return nn.functional.pad(rows, (0, -rows.shape[1] % group)).view(len(rows), -1, group)


def _working_dtype(weight: Tensor) -> torch.dtype:
    return torch.promote_types(weight.dtype, torch.float32)


def _positive(scale: Tensor, dtype: torch.dtype) -> Tensor:
    # The scale in the type it is stored in; 1 where there is nothing to scale, or where its
    # reciprocal would overflow.
    stored = scale.to(dtype)
    return torch.where(stored.to(scale.dtype) >= torch.finfo(scale.dtype).tiny, stored, 1.0)


def _zero_point(low: Tensor, scale: Tensor, bits: int) -> Tensor:
    return (-low / scale).round().clamp(0, 2**bits - 1).to(torch.uint8)
