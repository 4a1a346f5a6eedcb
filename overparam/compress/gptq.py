"""GPTQ: round column by column, and let later columns make up for the error."""

from dataclasses import dataclass

import torch
from torch import Tensor

from overparam.compress.quantisation_grid import Grid, Levels, make_grid

BLOCK = 128


@dataclass(frozen=True)
class Rounded:
    r"""A weight on its grid.

    Attributes:
        codes: uint8, of the weight's shape.
        grid: the levels.
        loss: :math:`\mathrm{tr}(\Delta H \Delta^\top)`, :math:`\Delta` the change of the weight and
            H damped.
    """

    codes: Tensor
    grid: Grid
    loss: float


@torch.no_grad()
def gptq_round(
    weight: Tensor,
    hessian: Tensor,
    bits: int,
    *,
    levels: Levels = "symmetric",
    group: int | None = None,
    damping: float = 0.01,
    act_order: bool = False,
    block: int = BLOCK,
) -> Rounded:
    r"""Round a weight so that the layer's *output* changes little.

    With :math:`H = 2 X X^\top + \lambda I`, :math:`\lambda` = damping x mean diagonal, and U the
    upper Cholesky factor of its inverse, :math:`H^{-1} = U^\top U`, column i is rounded to the
    nearest level and its error is spread over the columns to come:

    .. math:: e = (w_i - q_i) / U_{ii}, \qquad w_j \leftarrow w_j - e\, U_{ij} \quad (j > i).

    This is optimal brain quantisation in one order of columns for all rows; updates of columns
    outside of the current ``block`` are made once per block. Afterwards
    :math:`\mathrm{tr}(\Delta H \Delta^\top) = \sum e^2` exactly, which is at most
    :math:`\delta^2/4 \sum_i U_{ii}^{-2}` per row if nothing is clipped. As
    :math:`\sum_i U_{ii}^{-2} \le \mathrm{tr} H`, rounding errors that are spread evenly cost less
    than with nearest rounding on average, with no promise for a single matrix. For a diagonal H
    it *is* nearest rounding.

    A column that was 0 in all calibration samples is coupled to nothing and rounded to the nearest
    level. Exact zeros of the weight stay zero; the error that this makes moves on like any other.

    Args:
        weight: (O, ...), seen as (O, K).
        hessian: :math:`2 X X^\top` of its inputs, (K, K), or (G, K, K) for a convolution of G
            groups, whose rows are G equal parts.
        bits: 2..8.
        levels: as :func:`make_grid`.
        group: columns that share a scale; ``None``: all. Scales come from the weights as they are
            when the group's turn comes, with ``act_order`` from the original ones.
        damping: >= 0.
        act_order: columns with large inputs first, else in their order.
        block: columns whose updates are kept together; a multiple of ``group`` is taken.

    Raises:
        ValueError: numbers out of range, shapes that do not fit, entries that are not finite, or H
            not positive definite (fewer samples than columns and no damping).

    References:
        Frantar, Ashkboos, Hoefler, Alistarh: GPTQ, ICLR 2023, arXiv 2210.17323, Algorithm 1.
        On the errors: Chee, Cai, Kuleshov, De Sa: QuIP, NeurIPS 2023, arXiv 2307.13304, section 3.
    """
    grid = make_grid(weight, bits, levels=levels, group=group)
    parts = hessian.shape[0] if hessian.ndim == 3 else 1
    rows, columns = weight.shape[0], weight.shape[1:].numel()
    _check(hessian, rows, columns, damping, block)
    left = weight.detach().double().reshape(parts, rows // parts, columns)
    coupling = hessian.double().reshape(parts, columns, columns)
    order = torch.arange(columns, device=weight.device).expand(parts, -1)
    if act_order:
        diagonal = coupling.diagonal(dim1=1, dim2=2)
        order = diagonal.argsort(dim=1, descending=True, stable=True)
        coupling = coupling.gather(1, order[:, :, None].expand_as(coupling))
        coupling = coupling.gather(2, order[:, None].expand_as(coupling))
    across = order[:, None].expand_as(left)
    left = left.gather(2, across)
    factor = _inverse_factor(coupling, damping)
    kept = left != 0
    scale = grid.scale.clone().view(parts, rows // parts, -1)
    zero = grid.zero.clone().view(parts, rows // parts, -1)
    width = columns if group is None else group
    if group is not None:
        block = -(-block // group) * group
    codes = torch.empty(left.shape, dtype=torch.uint8, device=weight.device)
    members = torch.arange(parts, device=weight.device)
    loss = 0.0
    for start in range(0, columns, block):
        stop = min(start + block, columns)
        errors = torch.zeros(*left.shape[:2], stop - start, dtype=torch.float64).to(left.device)
        for i in range(start, stop):
            if group is not None and not act_order and i % group == 0:
                current = left[:, :, i : i + group].flatten(0, 1).to(weight.dtype)
                fresh = make_grid(current, bits, levels=levels)
                scale[:, :, i // group] = fresh.scale.view(parts, -1)
                zero[:, :, i // group] = fresh.zero.view(parts, -1)
            at = order[:, i] // width
            levels_i = Grid(
                scale[members, :, at].flatten(),
                zero[members, :, at].flatten(),
                bits,
                signed=grid.signed,
            )
            column = left[:, :, i].reshape(rows, 1)
            code = levels_i.codes(column)
            code = torch.where(kept[:, :, i].reshape(rows, 1), code, levels_i.zero[:, None])
            rest = column - levels_i.values(code).double()
            error = rest.view(parts, -1) / factor[:, i, i, None]
            left[:, :, i:stop] -= error[:, :, None] * factor[:, None, i, i:stop]
            errors[:, :, i - start] = error
            codes[:, :, i] = code.view(parts, -1)
        left[:, :, stop:] -= errors @ factor[:, start:stop, stop:]
        loss += float(errors.square().sum())
    placed = torch.empty_like(codes).scatter_(2, across, codes).view(weight.shape)
    final = Grid(scale.view(grid.scale.shape), zero.view(grid.zero.shape), bits, group, grid.signed)
    return Rounded(placed, final, loss)


def _inverse_factor(coupling: Tensor, damping: float) -> Tensor:
    # H = R R^T with R upper triangular is the Cholesky factorisation of H turned upside down; then
    # U = R^{-1}. Cheaper and more accurate than to invert H first.
    diagonal = coupling.diagonal(dim1=1, dim2=2)
    damped = diagonal + damping * diagonal.mean(1, keepdim=True)
    damped = torch.where(damped == 0, 1.0, damped)
    full = coupling.clone()
    full.diagonal(dim1=1, dim2=2).copy_(damped)
    lower, failed = torch.linalg.cholesky_ex(full.flip(1, 2))
    if bool((failed != 0).any()):
        raise ValueError(
            f"hessian with damping {damping} is not positive definite: fewer samples than columns "
            "need more damping"
        )
    identity = torch.eye(full.shape[-1], dtype=full.dtype, device=full.device)
    return torch.linalg.solve_triangular(lower.flip(1, 2), identity.expand_as(full), upper=True)


def _check(hessian: Tensor, rows: int, columns: int, damping: float, block: int) -> None:
    if not damping >= 0 or block < 1:
        raise ValueError(
            f"damping is {damping}, block is {block}; allowed damping >= 0, block >= 1"
        )
    parts = hessian.shape[0] if hessian.ndim == 3 else 1
    if hessian.shape[-2:] != (columns, columns) or hessian.ndim not in (2, 3) or rows % parts:
        raise ValueError(
            f"hessian has shape {tuple(hessian.shape)}; a weight of {rows} rows and {columns} "
            f"columns needs ({columns}, {columns}), or (groups, {columns}, {columns})"
        )
    if not bool(hessian.isfinite().all()):
        raise ValueError("hessian has entries that are NaN or infinite")
