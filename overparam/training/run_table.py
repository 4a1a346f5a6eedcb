"""How trained members came out, as the table that a step returns."""

from collections.abc import Sequence

import pandas as pd
from torch import Tensor

from overparam.training.ensemble import Ensemble
from overparam.training.evaluate import accuracy
from overparam.training.fit import FitTrace


def run_table(
    ensemble: Ensemble, trace: FitTrace, seeds: Sequence[int], **parts: tuple[Tensor, Tensor]
) -> pd.DataFrame:
    """A row per member: seed, an accuracy for each part, last training loss, divergence.

    Args:
        ensemble: E trained classifiers.
        trace: what :func:`fit` returned.
        seeds: of the members.
        parts: name -> inputs and classes; ``test=(x, y)`` makes the column ``test_acc``.

    Returns:
        Columns seed, NAME_acc (share of right answers, 0 for a member that diverged), train_loss
        (mean over the last epoch, NaN where diverged), diverged.

    Raises:
        ValueError: not one seed per member, or data that do not fit the ensemble.
    """
    if len(seeds) != ensemble.size:
        raise ValueError(f"seeds has {len(seeds)} entries for {ensemble.size} members")
    scores = {f"{name}_acc": accuracy(ensemble, x, y).numpy() for name, (x, y) in parts.items()}
    return pd.DataFrame(
        {
            "seed": list(seeds),
            **scores,
            "train_loss": trace.train_loss[:, -1].double().numpy(),
            "diverged": trace.diverged.numpy(),
        }
    )
