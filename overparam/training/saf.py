"""SAF: sharpness-aware training for free, by a table of past outputs.

Reference: Du et al., NeurIPS 2022, arXiv 2205.14083, Algorithm 1; official code AngusDujw/SAF.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.random import Generator, Philox
from torch import Tensor

from overparam.training.checkpoint import State
from overparam.training.data import Batch
from overparam.training.running import Fit
from overparam.training.trajectory_buffer import TrajectoryBuffer, check_storage
from overparam.training.trajectory_loss import Kind
from overparam.training.trajectory_term import Coefficient, TrajectoryTerm

Reference = Literal["past", "another", "present"]
REFERENCES = ("past", "another", "present")


class SAF(TrajectoryTerm):
    r"""Adds :math:`\lambda\tau^2 \, \mathrm{KL}(p_{e-E} \,\|\, p_e)` in epochs start < e < end.

    :math:`p_{e-E}` are the soft outputs that the same sample had E = ``distance`` epochs ago, under
    that epoch's own augmentation. A drop of the loss along the path adds up squared gradient norms,
    that is sharpness (Section 3.1); the term slows the drop down, at no further forward or backward
    pass. It needs samples that know their position.

    In the common loop it is a callback. In a loop of your own::

        saf = SAF(n=len(dataset), lam=0.3)
        for epoch in range(epochs):
            for x, y, index in DataLoader(IndexedDataset(dataset), shuffle=True, ...):
                logits = model(x)
                loss = F.cross_entropy(logits, y)
                loss = loss + saf(epoch, index, logits, targets=y)

    Args:
        n: samples of the training set; only a loop of your own has to say it.
        lam: coefficient, see :class:`TrajectoryTerm`; the paper takes 0.3 to 0.8.
        tau: temperature.
        distance: E, epochs back.
        start, end: see :class:`TrajectoryTerm`; start >= distance, so that the slot that is read
            was filled.
        kind: ``"kl"``, or ``"squared"`` for regression.
        reverse: KL(current || past), an ablation.
        reference: ``"past"``; as ablations ``"another"``, the past outputs of another random
            sample (the same for all members, anew in every epoch), and ``"present"``, E = 0, whose
            loss is zero.
        dtype, top_k, memory_map: see :class:`TrajectoryBuffer`.

    Raises:
        ValueError: distance < 1, start < distance, or another argument out of range.
    """

    def __init__(
        self,
        n: int | None = None,
        *,
        lam: Coefficient = 0.3,
        tau: float = 5.0,
        distance: int = 3,
        start: int = 5,
        end: int | None = None,
        kind: Kind = "kl",
        reverse: bool = False,
        reference: Reference = "past",
        dtype: torch.dtype = torch.float32,
        top_k: int | None = None,
        memory_map: str | Path | None = None,
    ) -> None:
        super().__init__(lam, tau, start, end, kind, reverse)
        check_storage(distance, dtype, top_k)
        if start < distance:
            raise ValueError(
                f"start={start}, distance={distance}; allowed: start >= distance, so that the "
                "epoch that is read has been recorded"
            )
        if reference not in REFERENCES:
            raise ValueError(f"reference={reference!r}; allowed: {', '.join(REFERENCES)}")
        if top_k is not None and kind == "squared":
            raise ValueError(f"top_k={top_k} with kind='squared'; allowed with kind='kl' alone")
        self.n, self.distance, self.reference = n, distance, reference
        self.dtype, self.top_k, self.memory_map = dtype, top_k, memory_map
        self.buffer: TrajectoryBuffer | None = None
        self._saved: Mapping[str, Tensor | int] = {}
        self._written_at = -1
        self._partners = (-1, torch.empty(0, dtype=torch.long))

    def __call__(
        self,
        epoch: int,
        index: Tensor,
        logits: Tensor,
        *,
        targets: Tensor | None = None,
        base: Tensor | None = None,
    ) -> Tensor:
        """Record a batch and give the term to add to its loss, in a loop of your own.

        Args:
            epoch: from 0; every epoch has to pass here, also those before ``start``.
            index: (B,) positions of the samples in the training set.
            logits: (B, ..., C), with gradient.
            targets: given, they are checked to be free of mixup.
            base: the batch's base loss, for a ``BalancedLambda``.

        Returns:
            A scalar, zero in epochs in which the term does not count.

        Raises:
            ValueError: n was not given, mixed targets, logits that are not finite, indices outside
                0..n-1 or not one per sample, a number of classes that changed.
        """
        if self.n is None:
            raise ValueError("n=None; outside the common loop SAF needs n, the number of samples")
        self.check_targets(targets)
        if index.shape != logits.shape[:1]:
            raise ValueError(
                f"index has shape {tuple(index.shape)}; expected ({len(logits)},), one position a "
                "sample (IndexedDataset yields them)"
            )
        buffer = self._table(self.n, logits.shape[1:], epoch, logits.device)
        buffer.write(epoch, index, logits)
        if not self.active(epoch):
            return logits.new_zeros(())
        past, valid = self._reference(buffer, epoch, index, logits, offset=0, n=self.n)
        return self.plain_term(logits, past, valid, base)

    def on_epoch_start(self, fit: Fit) -> None:
        """Forget an earlier training."""
        if fit.step == 0:
            self.buffer, self._written_at = None, -1

    def on_logits(self, fit: Fit, logits: Tensor, batch: Batch) -> Tensor | None:
        """Record the batch of every member, and give the term."""
        self.check_targets(batch.y)
        size, n = fit.ensemble.size, fit.data.n
        offset = n * torch.arange(size, device=logits.device).unsqueeze(1)
        buffer = self._table(size * n, logits.shape[2:], fit.epoch, logits.device)
        # SAM's second pass sees the same batch at perturbed weights, which are not on the path.
        if self._written_at != fit.step:
            # A member that diverges must not stop the others.
            keep = logits.detach().isfinite().flatten(2).all(2)
            buffer.write(fit.epoch, batch.index + offset, logits, keep)
            self._written_at = fit.step
        if not self.active(fit.epoch):
            return None
        past, valid = self._reference(buffer, fit.epoch, batch.index, logits, offset, n)
        return self.member_term(fit, logits, past, valid)

    def state(self) -> State:
        """The table."""
        return {} if self.buffer is None else self.buffer.state()

    def load_state(self, state: Mapping[str, Tensor | int]) -> None:
        """Put the table back; without it the term pauses until it is filled again."""
        self._saved = state

    def _table(
        self, n: int, shape: Sequence[int], epoch: int, device: torch.device
    ) -> TrajectoryBuffer:
        if self.buffer is None:
            self.buffer = TrajectoryBuffer(
                n,
                shape[-1],
                self.distance,
                self.dtype,
                inner=tuple(shape[:-1]),
                top_k=self.top_k,
                tau=self.tau,
                memory_map=self.memory_map,
                device=device if self.memory_map is None else "cpu",
            )
            if self._saved:
                self.buffer.load_state(self._saved)
            self._saved = {}
            needed = max(self.start + 1, epoch) - self.distance
            if epoch > needed and not self.buffer.written:
                warnings.warn(
                    f"SAF goes on at epoch {epoch} without its table of past outputs: no "
                    f"trajectory loss before epoch {epoch + self.distance}",
                    stacklevel=3,
                )
        return self.buffer

    def _reference(
        self,
        buffer: TrajectoryBuffer,
        epoch: int,
        index: Tensor,
        logits: Tensor,
        offset: Tensor | int,
        n: int,
    ) -> tuple[Tensor, Tensor | None]:
        if self.reference == "present":
            return logits.detach(), None
        if self.reference == "another":
            index = self._partner(epoch, n).to(index.device)[index]
        past, valid = buffer.read(epoch, index + offset)
        return past.to(logits.dtype), valid

    def _partner(self, epoch: int, n: int) -> Tensor:
        """Another sample for each: the next one in a random cycle through all."""
        if self._partners[0] != epoch or len(self._partners[1]) != n:
            cycle = Generator(Philox(key=epoch)).permutation(n)
            partner = np.empty_like(cycle)
            partner[cycle] = np.roll(cycle, -1)
            self._partners = (epoch, torch.from_numpy(partner))
        return self._partners[1]
