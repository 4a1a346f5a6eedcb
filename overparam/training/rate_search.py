"""The learning rate of each model by validation, all models and rates as one ensemble."""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from overparam.models import with_weights
from overparam.training.ensemble import Ensemble
from overparam.training.fit import fit
from overparam.training.member_rates import MemberRates
from overparam.training.orders import batch_orders
from overparam.training.run_table import run_table
from overparam.training.schedules import Schedule


@dataclass(frozen=True)
class RateSearch:
    """Trainings of S models at R learning rates each.

    Attributes:
        runs: a row per model and rate, the rates of a model rising: seed, lr, val_acc, test_acc,
            train_loss (of the last epoch), diverged, and chosen: where validation was best, at the
            smaller rate if two are equal.
        best: the models as the chosen runs left them, in eval mode.
    """

    runs: pd.DataFrame
    best: list[nn.Module]


def rate_search(
    models: Sequence[nn.Module],
    seeds: Sequence[int],
    rates: Sequence[float],
    *,
    train: tuple[Tensor, Tensor],
    val: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    epochs: int,
    batch_size: int,
    optimizer: Callable[..., torch.optim.Optimizer],
    schedule: Schedule | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] | None = None,
) -> RateSearch:
    """Train every model at every learning rate, and choose by validation accuracy.

    One batched program of S x R members: a model starts from the same weights and sees the same
    batches at each of its rates, as :class:`MemberRates` has it. Test data choose nothing.

    Args:
        models: S classifiers of one architecture, ready to train (what is frozen stays); they
            remain as they are.
        seeds: of the models, for the order of their batches.
        rates: R learning rates, positive.
        train: inputs (S, N, ...) and classes (S, N), of each model its own.
        val: likewise, to choose by.
        test: likewise, reported.
        epochs: of every training.
        batch_size: samples a step.
        optimizer: called with the stacked parameters and ``lr``; its step must be proportional to
            the rate.
        schedule: factor on all rates by epoch; none keeps them constant.
        progress: wraps the iterator over epochs.

    Raises:
        ValueError: not one seed and one data set per model, and what :class:`Ensemble`,
            :class:`MemberRates` and :func:`fit` refuse.
    """
    sizes = {"train": len(train[0]), "val": len(val[0]), "test": len(test[0])}
    for name, size in {"seeds": len(seeds), **sizes}.items():
        if size != len(models):
            raise ValueError(
                f"{name} has {size} entries for {len(models)} models; needed: one each"
            )
    per_member = MemberRates(sorted(rates) * len(models))
    own = [i for i in range(len(models)) for _ in rates]

    def of_members(part: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x, y = part
        return x[own], y[own]

    nets = Ensemble([models[i] for i in own])
    x, y = of_members(train)
    trace = fit(
        nets,
        x,
        y,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=lambda parameters: optimizer(parameters, lr=per_member.peak),
        schedule=schedule,
        orders=batch_orders(x.shape[1], epochs, seeds)[own],
        callbacks=[per_member],
        progress=progress,
    )
    member_seeds = [seeds[i] for i in own]
    runs = run_table(nets, trace, member_seeds, val=of_members(val), test=of_members(test))
    runs.insert(1, "lr", per_member.rates)
    scores = runs["val_acc"].to_numpy().reshape(len(models), len(rates))
    rows = np.arange(len(models)) * len(rates) + scores.argmax(1)
    best = [
        with_weights(copy.deepcopy(model), nets.state(int(row))).eval()
        for model, row in zip(models, rows, strict=True)
    ]
    return RateSearch(runs.assign(chosen=runs.index.isin(rows)), best)
