"""What SAF and MESA share: when the trajectory loss counts, and with which weight."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from overparam.training.running import Callback, Fit
from overparam.training.trajectory_loss import (
    KINDS,
    Kind,
    check_tau,
    member_kl,
    member_losses,
    squared_change,
    trajectory_kl,
)


@dataclass(frozen=True)
class BalancedLambda:
    r"""Coefficient that keeps the trajectory loss in proportion to the base loss.

    .. math:: \lambda = \min\!\left(\lambda_{\max},\;
              r \, \frac{\|\partial L_\mathrm{base} / \partial f\|}
                       {\|\partial L_\mathrm{trajectory} / \partial f\|}\right)

    anew in every batch, for each member of an ensemble by itself. The gradients are those with
    respect to the outputs f, so that no second backward pass through the network is needed.

    Args:
        share: r >= 0, size of the trajectory's gradient beside the base loss's.
        largest: bound on the coefficient, needed where the outputs have stopped moving.

    Raises:
        ValueError: share < 0, or largest <= 0.
    """

    share: float = 0.3
    largest: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= self.share < float("inf") or not 0 < self.largest < float("inf"):
            raise ValueError(
                f"share={self.share}, largest={self.largest}; allowed: share >= 0, largest > 0"
            )

    def __call__(self, base: Tensor, trajectory: Tensor) -> Tensor:
        """Coefficients (E,) from the two gradients with respect to the outputs (E, ...)."""
        ratio = base.flatten(1).norm(dim=1) / trajectory.flatten(1).norm(dim=1)
        return (self.share * ratio).nan_to_num(nan=0.0, posinf=self.largest).clamp(max=self.largest)


Coefficient = float | Sequence[float] | Tensor | BalancedLambda


class TrajectoryTerm(Callback):
    """Base of SAF and MESA: the weighted loss between present and reference outputs.

    Args:
        lam: coefficient >= 0, one for all members or one per member of an ensemble, or a
            :class:`BalancedLambda`.
        tau: temperature.
        start, end: the term counts in epochs start < e < end (both strict, as in the published
            code; end None: to the last).
        kind: ``"kl"`` for logits, ``"squared"`` for the outputs of a regression.
        reverse: KL(current || reference), an ablation.

    Raises:
        ValueError: lam < 0, tau <= 0, start < 0, end <= start + 1, or an unknown kind.
    """

    def __init__(
        self,
        lam: Coefficient,
        tau: float,
        start: int,
        end: int | None,
        kind: Kind,
        reverse: bool = False,
    ) -> None:
        self._off = False
        if not isinstance(lam, BalancedLambda):
            values = torch.as_tensor(lam, dtype=torch.float64)
            if values.ndim > 1 or not bool(((values >= 0) & values.isfinite()).all()):
                raise ValueError(f"lam={lam}; allowed: finite numbers >= 0")
            self._off = not bool(values.any())
        check_tau(tau)
        if start < 0 or (end is not None and end <= start + 1):
            raise ValueError(f"start={start}, end={end}; allowed: 0 <= start < end - 1")
        if kind not in KINDS:
            raise ValueError(f"kind={kind!r}; allowed: {', '.join(KINDS)}")
        if reverse and kind != "kl":
            raise ValueError(f"reverse=True with kind={kind!r}; allowed with kind='kl' alone")
        self.lam, self.tau, self.start, self.end, self.kind = lam, tau, start, end, kind
        self.losses: Callable[[Tensor, Tensor, Tensor | None], Tensor] = (
            partial(member_losses, change=squared_change)
            if kind == "squared"
            else partial(member_losses, change=partial(trajectory_kl, tau=tau, reverse=True))
            if reverse
            else partial(member_kl, tau=tau)
        )

    def active(self, epoch: int) -> bool:
        """Whether the term counts in this epoch: start < epoch < end, and lam is not zero."""
        return not self._off and self.start < epoch and (self.end is None or epoch < self.end)

    def weighted(
        self,
        outputs: Tensor,
        reference: Tensor,
        valid: Tensor | None,
        base_gradient: Callable[[], Tensor],
    ) -> Tensor:
        """The term of each member (E,): outputs and reference (E, B, ..., C), valid (E, B)."""
        term = self.losses(outputs, reference, valid)
        if isinstance(self.lam, BalancedLambda):
            (own,) = torch.autograd.grad(term.sum(), outputs, retain_graph=True)
            return self.lam(base_gradient(), own) * term
        if isinstance(self.lam, float | int):
            return self.lam * term
        lam = torch.as_tensor(self.lam, dtype=term.dtype, device=term.device)
        if lam.ndim and lam.shape != term.shape:
            raise ValueError(f"lam has {lam.numel()} values; expected one, or {len(term)} members'")
        return lam * term

    def member_term(
        self, fit: Fit, outputs: Tensor, reference: Tensor, valid: Tensor | None
    ) -> Tensor:
        """The term of each member in the common loop."""

        def base_gradient() -> Tensor:
            free = outputs.detach().requires_grad_()
            return torch.autograd.grad(fit.loss(free, fit.batch.y).sum(), free)[0]

        return self.weighted(outputs, reference, valid, base_gradient)

    def plain_term(
        self, outputs: Tensor, reference: Tensor, valid: Tensor | None, base: Tensor | None
    ) -> Tensor:
        """The term of one network in a loop of the user's own, a scalar."""

        def base_gradient() -> Tensor:
            if base is None:
                raise ValueError("base=None; a BalancedLambda needs the base loss of the batch")
            return torch.autograd.grad(base, outputs, retain_graph=True)[0].unsqueeze(0)

        mask = None if valid is None else valid.unsqueeze(0)
        return self.weighted(outputs.unsqueeze(0), reference.unsqueeze(0), mask, base_gradient)[0]

    def check_targets(self, targets: Tensor | None) -> None:
        """Refuse mixed labels: a mixed image has no past outputs of its own.

        Raises:
            ValueError: targets are floating although the outputs are logits.
        """
        if targets is not None and self.kind == "kl" and targets.is_floating_point():
            raise ValueError(
                f"targets are {targets.dtype}, as mixup and cutmix make them; a mixed sample has "
                "no outputs of an earlier epoch. Allowed: integer classes (switch mixing off)"
            )
