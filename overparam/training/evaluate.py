"""Outputs and accuracies of an ensemble on whole data sets."""

import torch
from torch import Tensor

from overparam.training.data import MemberData
from overparam.training.ensemble import Ensemble


@torch.no_grad()
def predict(ensemble: Ensemble, x: Tensor, *, shared: bool, batch_size: int = 1024) -> Tensor:
    """Outputs (E, N, ...) in eval mode, computed batch by batch.

    Args:
        ensemble: its train or eval mode is put back afterwards.
        x: inputs (N, ...) when ``shared``, else (E, N, ...).
        shared: every member sees the same x.
        batch_size: samples at once.

    Raises:
        ValueError: batch_size below 1, or x does not fit.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}; allowed >= 1")
    mode = ensemble.training
    ensemble.eval()
    try:
        chunks = torch.split(x, batch_size, dim=0 if shared else 1)
        return torch.cat([ensemble(chunk, shared=shared) for chunk in chunks], dim=1)
    finally:
        ensemble.train(mode)


@torch.no_grad()
def accuracy(ensemble: Ensemble, x: Tensor, y: Tensor, *, batch_size: int = 1024) -> Tensor:
    """Share of samples that each member classifies as y says; a member with NaN outputs scores 0.

    Args:
        ensemble: E members.
        x: inputs (N, ...) or (E, N, ...).
        y: integer classes (N,) or (E, N).
        batch_size: samples at once.

    Returns:
        (E,) float64 accuracies in [0, 1].

    Raises:
        ValueError: the shapes do not fit.
    """
    data = MemberData(x, y, ensemble.size)
    logits = predict(ensemble, x, shared=not data.x_own, batch_size=batch_size)
    correct = (logits.argmax(-1) == y) & logits.isfinite().all(-1)
    return correct.double().mean(1)
