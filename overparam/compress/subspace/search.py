"""Search for the smallest random subspace in which a network trains well enough."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
from torch import nn

from overparam.compress.subspace.model import ProjectionKind
from overparam.compress.subspace.runs import train_subspaces
from overparam.datasets import TrainTest
from overparam.measure import intrinsic_dimension_of_runs
from overparam.models import count_parameters


@dataclass(frozen=True)
class SubspaceSearch:
    """What all trainings of one search share (Li et al. 2018, section 2).

    First :meth:`grid` for every seed, then :meth:`refine` between the grid's last failure and first
    success; the two are apart, so that the runs of a grid can be kept and extended.

    Attributes:
        model: the architecture; theta0 is drawn from each seed.
        projection: kind of P; :func:`affordable_projection` chooses one.
        rates: learning rates of Adam, all tried at every d, because a badly chosen one inflates
            the intrinsic dimension.
        epochs: passes over the data.
        batch_size: samples per step.

    Example:
        >>> import torch
        >>> x = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
        >>> data = TrainTest(x, x[:, :3].argmax(1), x, x[:, :3].argmax(1))
        >>> search = SubspaceSearch(nn.Linear(5, 3), "dense", (0.3,), epochs=40, batch_size=20)
        >>> runs = search.grid(data, (2, 18), seed=0).assign(seed=0)
        >>> found = search.refine(runs, {0: data}, "test_acc", pd.Series({0: 0.9}), resolution=0.2)
        >>> set(found["dim"]) > {2, 18}
        True
    """

    model: nn.Module
    projection: ProjectionKind
    rates: Sequence[float]
    epochs: int
    batch_size: int

    def grid(
        self,
        data: TrainTest,
        dims: Sequence[int],
        *,
        seed: int,
        progress: Callable[[Iterable[int]], Iterable[int]] | None = None,
    ) -> pd.DataFrame:
        """Train at every d and learning rate, all d of a rate side by side.

        Args:
            data: of the seed.
            dims: all d.
            seed: of theta0, P and the order of samples.
            progress: wraps the iterator over epochs.

        Returns:
            The rows of :func:`train_subspaces`, rate after rate.

        Raises:
            ValueError: no rates; what :func:`train_subspaces` refuses.
        """
        if not self.rates:
            raise ValueError("rates must hold at least one learning rate")
        runs = [self._train(data, dims, rate, seed, progress) for rate in self.rates]
        return pd.concat(runs, ignore_index=True)

    def refine(
        self,
        runs: pd.DataFrame,
        data: Mapping[int, TrainTest],
        performance: Literal["train_acc", "test_acc"],
        baseline: pd.Series,
        *,
        more_dims: Sequence[int] = (),
        ratio: float = 0.9,
        resolution: float = 0.05,
    ) -> pd.DataFrame:
        """Bisect to the smallest d whose mean performance reaches a share of the baseline.

        Args:
            runs: of :meth:`grid` for all seeds, with a column seed.
            data: of each seed.
            performance: the accuracy that is to reach the threshold.
            baseline: that of the full network, indexed by seed.
            more_dims: tried after the grid, while none before them suffices.
            ratio: share of the baseline to reach.
            resolution: the bisection ends when the bracket's ends differ by this share.

        Returns:
            ``runs`` and what was trained beside them.

        Raises:
            ValueError: a baseline not above chance, ``1 / classes``; what
                :func:`overparam.measure.intrinsic_dimension_of_runs` refuses.
        """

        def train(seed: int, dim: int, rate: float) -> pd.DataFrame:
            return self._train(data[seed], (dim,), rate, seed)

        first = next(iter(data.values()))
        return intrinsic_dimension_of_runs(
            runs,
            performance,
            baseline,
            train=train,
            more_dims=more_dims,
            ratio=ratio,
            chance=1 / first.classes,
            rtol=resolution,
        )[1]

    def _train(
        self,
        data: TrainTest,
        dims: Sequence[int],
        rate: float,
        seed: int,
        progress: Callable[[Iterable[int]], Iterable[int]] | None = None,
    ) -> pd.DataFrame:
        return train_subspaces(
            self.model,
            data,
            dims,
            self.projection,
            rate,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=seed,
            progress=progress,
        )


def affordable_projection(
    model: nn.Module, dense_limit: int = 20_000
) -> Literal["dense", "fastfood"]:
    """``"dense"`` for a model of fewer than ``dense_limit`` parameters, ``"fastfood"`` above.

    >>> affordable_projection(nn.Linear(8, 3)), affordable_projection(nn.Linear(300, 100))
    ('dense', 'fastfood')
    """
    return "dense" if count_parameters(model) < dense_limit else "fastfood"
