"""The trajectory loss of SAF: how far the outputs have moved since an earlier epoch.

Reference: Du, Zhou, Feng, Tan and Zhou, NeurIPS 2022, arXiv 2205.14083, Section 3.2.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Change = Callable[[Tensor, Tensor], Tensor]
Kind = Literal["kl", "squared"]
KINDS = ("kl", "squared")


def trajectory_loss(
    logits: Tensor,
    past: Tensor,
    tau: float = 5.0,
    valid: Tensor | None = None,
    *,
    reverse: bool = False,
) -> Tensor:
    r"""Divergence of the present soft outputs from the recorded ones, averaged over samples.

    .. math:: \frac{\tau^2}{B} \sum_b \sum_c p_{bc} \log\frac{p_{bc}}{q_{bc}}, \quad
              p = \mathrm{softmax}(\mathrm{past}/\tau), \; q = \mathrm{softmax}(f/\tau)

    The gradient with respect to the logits is :math:`\tau (q - p) / B`. Both sides are
    log-softmaxes, so that nothing underflows.

    Args:
        logits: present outputs f (B, ..., C), e.g. (B, T, C) of a sequence model.
        past: recorded outputs, same shape; no gradient flows into them.
        tau: temperature > 0.
        valid: (B, ...) bool; samples (or tokens) without a record count as zero, so that each other
            one weighs 1/B whatever is missing.
        reverse: KL(current || past) instead, an ablation.

    Returns:
        A scalar.

    Raises:
        ValueError: tau <= 0, shapes that differ, outputs that are not finite.

    Example:
        >>> now, then = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([[1.0, 1.0, 0.0]])
        >>> round(trajectory_loss(now, then, tau=1.0).item(), 4)
        0.4632
    """
    check_tau(tau)
    _check_outputs(logits, past, valid)
    return _mean(logits, past, valid, partial(trajectory_kl, tau=tau, reverse=reverse))


def squared_trajectory_loss(outputs: Tensor, past: Tensor, valid: Tensor | None = None) -> Tensor:
    r"""The trajectory loss of a regression: mean squared change of the outputs.

    :math:`\frac{1}{B K} \sum_{bk} (f_{bk} - \mathrm{past}_{bk})^2`. For logits this is, up to the
    row means, what :math:`\tau^2` KL tends to as :math:`\tau \to \infty` (there with the factor
    1/2).

    Args:
        outputs: (B, ..., K).
        past: recorded outputs, same shape.
        valid: (B, ...) bool; the others count as zero.

    Raises:
        ValueError: shapes that differ, outputs that are not finite.
    """
    _check_outputs(outputs, past, valid)
    return _mean(outputs, past, valid, squared_change)


def trajectory_kl(logits: Tensor, past: Tensor, tau: float, *, reverse: bool = False) -> Tensor:
    r""":math:`\tau^2` KL(past || current) of every sample, (..., C) to (...); unchecked."""
    log_q, log_p = _log_softmax(logits, tau), _log_softmax(past.detach(), tau)
    if reverse:
        log_p, log_q = log_q, log_p
    return tau**2 * F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(0)


def squared_change(outputs: Tensor, past: Tensor) -> Tensor:
    """Mean squared change of every sample, (..., K) to (...); unchecked."""
    return (outputs - past.detach()).square().mean(-1)


def member_losses(outputs: Tensor, past: Tensor, valid: Tensor | None, change: Change) -> Tensor:
    """Mean change of each member of an ensemble: outputs (E, B, ..., C) to (E,).

    Args:
        outputs, past: of the same shape; what is not ``valid`` may hold anything.
        valid: (E, B, ...) bool, or None for all.
        change: outputs and past to the change of every sample, e.g. :func:`trajectory_kl`.
    """
    if valid is not None:
        # Where the present is its own past, value and gradient are exactly zero. (A factor 0 would
        # let NaN in a masked entry come back through the chain rule.)
        past = torch.where(expand_valid(valid, past.ndim), past, outputs.detach())
    return change(outputs, past).flatten(1).mean(1)


def member_kl(outputs: Tensor, past: Tensor, valid: Tensor | None, tau: float) -> Tensor:
    r"""What :func:`member_losses` gives with :func:`trajectory_kl`, in half the time.

    The gradient :math:`\tau (q - p) / B` is kept from the forward pass, and is exactly zero where
    past and present agree. (Twice differentiable; not for use under ``torch.func``.)
    """
    loss: Tensor = _MemberKL.apply(outputs, past.detach(), valid, tau)  # type: ignore[no-untyped-call]
    return loss


def expand_valid(valid: Tensor, dims: int) -> Tensor:
    """The mask with trailing axes of length 1, up to ``dims`` axes."""
    return valid.reshape(*valid.shape, *(1,) * (dims - valid.ndim))


def check_tau(tau: float) -> None:
    """Refuse a temperature that is not a finite number > 0 with a ``ValueError``."""
    if not 0 < tau < float("inf"):
        raise ValueError(f"tau={tau}; allowed: finite numbers > 0")


def check_finite(outputs: Tensor, name: str = "logits") -> None:
    """Refuse outputs with NaN or infinite values with a ``ValueError``."""
    finite = outputs.detach().isfinite()
    if not bool(finite.all()):
        raise ValueError(f"{name} has {int((~finite).sum())} values that are not finite")


def _check_outputs(outputs: Tensor, past: Tensor, valid: Tensor | None) -> None:
    if outputs.shape != past.shape or outputs.ndim < 2:
        raise ValueError(
            f"outputs have shape {tuple(outputs.shape)} and past {tuple(past.shape)}; they must be "
            "equal, (B, ..., C)"
        )
    if valid is not None and valid.shape != outputs.shape[: valid.ndim]:
        raise ValueError(
            f"valid has shape {tuple(valid.shape)}; allowed: leading axes of {outputs.shape[:-1]}"
        )
    check_finite(outputs)
    check_finite(
        past if valid is None else torch.where(expand_valid(valid, past.ndim), past, 0), "past"
    )


def _mean(outputs: Tensor, past: Tensor, valid: Tensor | None, change: Change) -> Tensor:
    mask = None if valid is None else valid.unsqueeze(0)
    return member_losses(outputs.unsqueeze(0), past.unsqueeze(0), mask, change)[0]


def _log_softmax(logits: Tensor, tau: float) -> Tensor:
    """Classes first: with few of them, rows that long make it up to four times as fast."""
    return (logits / tau).movedim(-1, 0).contiguous().log_softmax(0)


class _MemberKL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, outputs: Tensor, past: Tensor, valid: Tensor | None, tau: float
    ) -> Tensor:
        log_q, log_p = _log_softmax(outputs, tau), _log_softmax(past, tau)
        p = log_p.exp()
        changes = (p * (log_p - log_q)).sum(0)
        gap = log_q.exp().sub_(p)
        if valid is not None:
            mask = expand_valid(valid, changes.ndim)
            changes, gap = torch.where(mask, changes, 0), torch.where(mask, gap, 0)
        ctx.tau, ctx.scale = tau, tau / changes[0].numel()
        ctx.save_for_backward(outputs, past, valid, gap)
        return changes.flatten(1).mean(1).mul_(tau**2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        outputs, past, valid, gap = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated again
            gap = _log_softmax(outputs, ctx.tau).exp() - _log_softmax(past, ctx.tau).exp()
            if valid is not None:
                gap = torch.where(expand_valid(valid, gap.ndim - 1), gap, 0)
        member = gradients[0].reshape(-1, *(1,) * (gap.ndim - 2))
        return (ctx.scale * member * gap).movedim(0, -1), None, None, None
