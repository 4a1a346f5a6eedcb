"""The learning rate at each subspace dimension: a badly chosen one would inflate d_int."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd


@dataclass
class LearningRateChoice:
    """Wraps training at a given rate into training at the best of several rates, for each d.

    For each d the rate with the highest *selection* score (e.g. on held-out training data),
    averaged over seeds, is taken, and its *performance* reported, so that test data choose
    nothing. Ties go to the earlier rate. Calling the object has the signature that
    :func:`~overparam.measure.intrinsic_dimension.intrinsic_dimension` wants.

    Args:
        train: ``train(dim, seeds, rate) -> (selection, performance)``, one number per seed each.
        rates: Rates to try, positive and distinct.

    Raises:
        ValueError: No rates; a rate that is not positive; a rate twice.
    """

    train: Callable[[int, tuple[int, ...], float], tuple[Sequence[float], Sequence[float]]]
    rates: Sequence[float]
    _records: list[dict[str, float | bool]] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        rates = list(self.rates)
        if not rates or min(rates) <= 0 or len(set(rates)) != len(rates):
            raise ValueError(f"rates must be positive and distinct, got {rates}")

    def __call__(self, dim: int, seeds: tuple[int, ...]) -> Sequence[float]:
        """Performance per seed at the rate chosen for ``dim``.

        Raises:
            ValueError: All rates diverged (no finite selection score).
        """
        runs = {rate: self.train(dim, seeds, rate) for rate in self.rates}
        selection = {rate: float(np.mean(scores)) for rate, (scores, _) in runs.items()}
        finite = [rate for rate in self.rates if np.isfinite(selection[rate])]
        if not finite:
            raise ValueError(f"no rate of {list(self.rates)} gave finite scores at dim {dim}")
        best = max(finite, key=lambda rate: selection[rate])
        self._records += [
            {
                "dim": dim,
                "learning_rate": rate,
                "selection": selection[rate],
                "performance": float(np.mean(runs[rate][1])),
                "chosen": rate == best,
                # A best rate at the edge says that the range should be widened.
                "at_edge": rate in (min(self.rates), max(self.rates)),
            }
            for rate in self.rates
        ]
        return runs[best][1]

    @property
    def table(self) -> pd.DataFrame:
        """One row per (dim, learning_rate) tried."""
        return pd.DataFrame(self._records)
