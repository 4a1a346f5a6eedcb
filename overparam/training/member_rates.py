"""A learning rate of its own for every member of an ensemble, with one optimiser for all."""

from collections.abc import Sequence

import torch
from torch import Tensor

from overparam.training.running import Callback, Fit

RATE_IN_STATE = (torch.optim.Rprop, torch.optim.ASGD)
"""Their steps are not proportional to the learning rate, which enters what they remember."""


class MemberRates(Callback):
    r"""Learning rates by member, so that a search over rates trains as one batched program.

    The optimiser runs at the largest rate; each step is then shortened to the member's own,

    .. math:: p_e \leftarrow p_e^\text{old} + \frac{\eta_e}{\max_j \eta_j}
              \left(p_e^\text{new} - p_e^\text{old}\right).

    Exact for optimisers whose step is the learning rate times something that does not depend on
    it: SGD with momentum and weight decay, Adam and its kin, AdamW with decoupled decay, RMSprop.
    Schedules multiply all rates alike. Two passes over the trained parameters per step.

    Args:
        rates: one learning rate per member, positive.

    Raises:
        ValueError: no rates, or one that is not positive and finite. When the training starts: not
            one rate per member, an optimiser that is not at the largest rate, or one whose step is
            not proportional to its rate.

    Example:
        >>> rates = MemberRates([1e-3, 1e-2])
        >>> rates.peak
        0.01

        To be given as ``optimizer=partial(AdamW, lr=rates.peak), callbacks=(rates,)``.
    """

    def __init__(self, rates: Sequence[float]) -> None:
        self.rates = tuple(float(rate) for rate in rates)
        if not self.rates or not all(0 < rate < float("inf") for rate in self.rates):
            raise ValueError(f"rates={tuple(rates)}; allowed: at least one, each positive, finite")
        self.peak = max(self.rates)
        self._before: list[Tensor] = []

    def on_epoch_start(self, fit: Fit) -> None:
        """Check, before the first step, that rates, members and optimiser fit."""
        if len(self.rates) != fit.ensemble.size:
            raise ValueError(
                f"{len(self.rates)} rates for {fit.ensemble.size} members; needed: one each"
            )
        if isinstance(fit.optimizer, RATE_IN_STATE):
            raise ValueError(
                f"optimizer is {type(fit.optimizer).__name__}, whose step is not proportional to "
                "its learning rate; allowed are SGD, Adam, AdamW, RMSprop and their kin"
            )
        rate = fit.optimizer.defaults["lr"]
        if rate != self.peak:
            raise ValueError(f"the optimiser's lr is {rate}; needed: the largest rate, {self.peak}")

    def on_gradients(self, fit: Fit) -> None:
        """Remember where the members stand."""
        self._before = [p.detach().clone() for p in fit.ensemble.trainable()]

    @torch.no_grad()
    def on_step(self, fit: Fit) -> None:
        """Shorten the step of every member."""
        for parameter, before in zip(fit.ensemble.trainable(), self._before, strict=True):
            share = before.new_tensor([rate / self.peak for rate in self.rates])
            # lerp returns its end exactly at weight 1: the member at the peak is left alone.
            torch.lerp(before, parameter, share.view(-1, *([1] * (before.ndim - 1))), out=parameter)
        self._before = []
