"""Trainings of subspaces and of full networks, with Adam at a constant rate, as tables."""

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import pandas as pd
import torch
from torch import nn

from overparam.compress.subspace.ensemble import SubspaceEnsemble
from overparam.compress.subspace.model import ProjectionKind
from overparam.datasets import TrainTest
from overparam.models import count_parameters
from overparam.training import Ensemble, accuracy, batch_orders, fit


def train_and_score(
    ensemble: Ensemble,
    data: TrainTest,
    rate: float,
    *,
    epochs: int,
    batch_size: int,
    order_seeds: Sequence[int],
    progress: Callable[[Iterable[int]], Iterable[int]] | None = None,
) -> pd.DataFrame:
    """Train an ensemble in place with Adam on the cross entropy.

    Args:
        ensemble: E members.
        data: shared by all, or of each member.
        rate: constant learning rate.
        epochs: passes over the data.
        batch_size: samples per step.
        order_seeds: seeds of the members' sample orders; a single one serves all members.
        progress: wraps the iterator over epochs.

    Returns:
        A row per member: lr, train_acc, test_acc, seconds (of the whole, shared evenly).

    Raises:
        ValueError: what :func:`overparam.training.fit` refuses.
    """
    started = time.perf_counter()
    fit(
        ensemble,
        data.x,
        data.y,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=partial(torch.optim.Adam, lr=rate),
        orders=batch_orders(data.y.shape[-1], epochs, order_seeds),
        progress=progress,
    )
    return pd.DataFrame(
        {
            "lr": rate,
            "train_acc": accuracy(ensemble, data.x, data.y).numpy(),
            "test_acc": accuracy(ensemble, data.x_test, data.y_test).numpy(),
            "seconds": (time.perf_counter() - started) / ensemble.size,
        }
    )


def train_networks(
    models: Sequence[nn.Module],
    data: TrainTest,
    rates: Sequence[float],
    *,
    seeds: Sequence[int],
    epochs: int,
    batch_size: int,
    progress: Callable[[Iterable[int]], Iterable[int]] | None = None,
) -> pd.DataFrame:
    """Train networks directly at each of several learning rates, always from the same start.

    Args:
        models: of one architecture; unchanged.
        data: shared by all, or of each of them.
        rates: constant learning rates of Adam.
        seeds: of the networks, for the order of their samples.
        epochs: passes over the data.
        batch_size: samples per step.
        progress: wraps the iterator over epochs.

    Returns:
        A row per rate and network: the columns of :func:`train_and_score`, seed, D.

    Raises:
        ValueError: no rates; not one seed per model; what :func:`train_and_score` refuses.
    """
    if not rates:
        raise ValueError("rates must hold at least one learning rate")
    if len(seeds) != len(models):
        raise ValueError(f"seeds has {len(seeds)} entries for {len(models)} models")
    runs = []
    for rate in rates:
        ensemble = Ensemble(models)
        run = train_and_score(
            ensemble,
            data,
            rate,
            epochs=epochs,
            batch_size=batch_size,
            order_seeds=seeds,
            progress=progress,
        )
        runs.append(run.assign(seed=list(seeds), D=count_parameters(models[0])))
    return pd.concat(runs, ignore_index=True)


def train_subspaces(
    model: nn.Module,
    data: TrainTest,
    dims: Sequence[int],
    projection: ProjectionKind,
    rate: float,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    progress: Callable[[Iterable[int]], Iterable[int]] | None = None,
) -> pd.DataFrame:
    """Train v for several d of one seed side by side (Li et al. 2018, section 2).

    Args:
        model: the architecture.
        data: of one seed.
        dims: d of each member; equal ones with ``"sparse"``.
        projection: kind of P.
        rate: constant learning rate of Adam for v.
        epochs: passes over the data.
        batch_size: samples per step.
        seed: of theta0, P and the order of samples.
        progress: wraps the iterator over epochs.

    Returns:
        A row per d: dim, D, projection, v (the trained coordinates), and the columns of
        :func:`train_and_score`.

    Raises:
        ValueError: what :class:`SubspaceEnsemble` and :func:`train_and_score` refuse.
    """
    ensemble = SubspaceEnsemble(model, dims, projection, seed=seed, init_seed=seed)
    runs = train_and_score(
        ensemble,
        data,
        rate,
        epochs=epochs,
        batch_size=batch_size,
        order_seeds=(seed,),
        progress=progress,
    )
    return runs.assign(
        dim=list(dims),
        D=count_parameters(model, trainable=True),
        projection=projection,
        v=[v.numpy() for v in ensemble.coordinates()],  # type: ignore[misc]
    )
