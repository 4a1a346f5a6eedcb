"""MESA: SAF whose reference outputs come from averaged weights instead of a table.

Reference: Du et al., NeurIPS 2022, arXiv 2205.14083, Section 3.3 and Algorithm 2; the average is
that of timm's ``ModelEmaV2``.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import Tensor, nn

from overparam.training.checkpoint import State, part
from overparam.training.data import Batch
from overparam.training.ensemble import Ensemble
from overparam.training.running import Fit
from overparam.training.trajectory_loss import Kind, check_finite
from overparam.training.trajectory_term import Coefficient, TrajectoryTerm


class Teacher(TrajectoryTerm):
    """A trajectory term whose reference outputs come from other weights of the same networks.

    One more forward pass a step while the term counts, no further backward pass, and memory that
    does not grow with the number of samples.
    """

    def weights(self, fit: Fit) -> dict[str, Tensor] | None:
        """The teacher's stacked parameters and buffers, or None while there are none."""
        raise NotImplementedError

    def on_logits(self, fit: Fit, logits: Tensor, batch: Batch) -> Tensor | None:
        """The term between the batch's outputs and the teacher's."""
        if not self.active(fit.epoch) or (weights := self.weights(fit)) is None:
            return None
        ensemble = fit.ensemble
        with torch.no_grad(), _evaluating(ensemble):
            reference = ensemble.functional(
                {name: weights[name] for name in ensemble.parameters},
                {name: weights[name] for name in ensemble.buffers},
                batch.x,
                shared=batch.shared,
            )
        fit.cost.add(forward=batch.index.shape[1])
        return self.member_term(fit, logits, reference, None)


class MESA(Teacher):
    r"""Adds :math:`\lambda\tau^2 \, \mathrm{KL}(p_\mathrm{ema} \,\|\, p_e)` in start < e < end.

    After every step :math:`\bar\theta \leftarrow \beta\bar\theta + (1-\beta)\theta`; buffers (the
    statistics of BatchNorm) are averaged as well, whole-number ones copied. The teacher sees the
    same augmented batch, in eval mode.

    In the common loop it is a callback. In a loop of your own::

        mesa = MESA(model, lam=0.8, beta=0.995)
        for epoch in range(epochs):
            for x, y in loader:
                logits = model(x)
                loss = F.cross_entropy(logits, y)
                loss = loss + mesa(epoch, x, logits)
                ...
                optimizer.step()
                mesa.update()
        mesa.teacher                      # the averaged network; the paper evaluates this one

    Args:
        model: the network, in a loop of your own.
        lam, tau, start, end, kind, reverse: see :class:`TrajectoryTerm`.
        beta: decay of the average in [0, 1); the published default 0.9998 is for long trainings.
        warm_up: use min(beta, (1 + t) / (10 + t)) at update t = 0, 1, ..., so that a short training
            does not keep its random start in the average.

    Raises:
        ValueError: beta outside [0, 1), or an argument of the term out of range.
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        *,
        lam: Coefficient = 0.8,
        tau: float = 5.0,
        beta: float = 0.9998,
        warm_up: bool = True,
        start: int = 5,
        end: int | None = None,
        kind: Kind = "kl",
        reverse: bool = False,
    ) -> None:
        super().__init__(lam, tau, start, end, kind, reverse)
        if not 0 <= beta < 1:
            raise ValueError(f"beta={beta}; allowed 0 <= beta < 1")
        self.beta, self.warm_up = beta, warm_up
        self.updates = 0
        self.average: dict[str, Tensor] = {}
        self._networks = (
            None if model is None else (model, deepcopy(model).eval().requires_grad_(False))
        )

    @property
    def decay(self) -> float:
        """The decay of the next update."""
        warm = (1 + self.updates) / (10 + self.updates)
        return min(self.beta, warm) if self.warm_up else self.beta

    @property
    def teacher(self) -> nn.Module:
        """The averaged network, in a loop of your own.

        Raises:
            ValueError: MESA was made without a model; in the common loop see :meth:`averaged`.
        """
        return self._pair()[1]

    def __call__(
        self,
        epoch: int,
        x: Tensor,
        logits: Tensor,
        *,
        targets: Tensor | None = None,
        base: Tensor | None = None,
    ) -> Tensor:
        """The term to add to the loss of a batch, in a loop of your own.

        Args:
            epoch: from 0.
            x: inputs of the batch, as the model saw them.
            logits: the model's outputs (B, ..., C), with gradient.
            targets: accepted like SAF's; a teacher sees the mixed sample, so mixing is allowed.
            base: the batch's base loss, for a ``BalancedLambda``.

        Returns:
            A scalar, zero in epochs in which the term does not count.
        """
        teacher = self.teacher
        if not self.active(epoch):
            return logits.new_zeros(())
        check_finite(logits)
        with torch.no_grad():
            reference = teacher(x)
        return self.plain_term(logits, reference, None, base)

    def update(self) -> None:
        """Move the average after the optimiser's step, in a loop of your own."""
        model, teacher = self._pair()
        self._move(_tensors(teacher), _tensors(model))

    def averaged(self, ensemble: Ensemble) -> Ensemble:
        """The averaged members after a training in the common loop.

        Raises:
            ValueError: nothing was trained, or another ensemble was.
        """
        copy = Ensemble(ensemble.members())
        copy.restore(self.average)
        return copy

    def weights(self, fit: Fit) -> dict[str, Tensor]:
        """The average."""
        return self.average

    def on_epoch_start(self, fit: Fit) -> None:
        """Start the average at the start of the training."""
        if fit.step == 0:
            self.average, self.updates = fit.ensemble.snapshot(), 0

    def on_step(self, fit: Fit) -> None:
        """Move the average."""
        self._move(self.average, {**fit.ensemble.parameters, **fit.ensemble.buffers})

    def state(self) -> State:
        """The average and how often it moved."""
        weights = {f"average.{name}": t.clone() for name, t in self.average.items()}
        return {**weights, "updates": self.updates}

    def load_state(self, state: Mapping[str, Tensor | int]) -> None:
        """Put back what :meth:`state` gave."""
        saved = part(state, "average.")
        self.average = {name: t.clone() for name, t in saved.items() if isinstance(t, Tensor)}
        if not self.average or "updates" not in state:
            raise ValueError("the saved state holds no average of the weights: not one of MESA")
        self.updates = int(state["updates"])

    def _pair(self) -> tuple[nn.Module, nn.Module]:
        if self._networks is None:
            raise ValueError("model=None; outside the common loop MESA needs the model")
        return self._networks

    @torch.no_grad()
    def _move(self, average: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> None:
        weight = 1 - self.decay
        for name, old in average.items():
            if old.is_floating_point():
                old.lerp_(present[name], weight)
            else:
                old.copy_(present[name])
        self.updates += 1


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    named: Iterable[tuple[str, Tensor]] = [*model.named_parameters(), *model.named_buffers()]
    return dict(named)


@contextmanager
def _evaluating(ensemble: Ensemble) -> Iterator[None]:
    mode = ensemble.training
    ensemble.eval()
    try:
        yield
    finally:
        ensemble.train(mode)
