"""Descents on stored sensing problems, side by side from the same random directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from overparam.datasets import problem_kinds, problem_rank, read_sensing
from overparam.store import Tables
from overparam.training.factor_trace import log_spaced_steps
from overparam.training.factored_gd import (
    FactoredDescent,
    Float,
    Parameterization,
    random_factors,
)

__all__ = ["FactorStart", "SensingDescent", "descend_side_by_side"]


@dataclass(frozen=True)
class FactorStart:
    """A run: where it starts, and what it recovers.

    Attributes:
        method: its label.
        kind: kind of the unknown matrix, "symmetric" or "asymmetric".
        alpha: scale of F.
        ratio: scale of G over that of F.
        tied: G starts as F itself, exactly balanced; for a square M.
    """

    method: str
    kind: str
    alpha: float
    ratio: float = 1.0
    tied: bool = False


@dataclass(frozen=True)
class SensingDescent:
    """An algorithm and the starts from which it runs, all as one batch.

    Attributes:
        algorithm: :func:`~overparam.training.factored_gd`,
            :func:`~overparam.training.accelerated_factored_gd`, or either with options of its own
            (``functools.partial``).
        starts: at least one.
        steps: T.
        parameterization: "symmetric" descends on X X^T from X = F; it is for ``factored_gd``.
    """

    algorithm: Callable[..., FactoredDescent]
    starts: Sequence[FactorStart]
    steps: int
    parameterization: Parameterization = "asymmetric"


def descend_side_by_side(
    descents: Sequence[SensingDescent],
    problems: Tables,
    seeds: Sequence[int],
    k: int,
    eta: float,
    stop_below: float = 0.0,
) -> pd.DataFrame:
    """Run descents on the same problems, from the same random directions of each seed.

    A start whose kind of matrix the problems lack (M is not known to be X X^T) is left out.

    Args:
        descents: at least one of which finds its kind of matrix.
        problems: what :func:`~overparam.datasets.sensing_tables` made, of these seeds at least.
        seeds: all at once.
        k: rank of the factors.
        eta: step size.
        stop_below: residual at which a run has arrived.

    Returns:
        A row per seed, start and recorded step (log-spaced, T/4 and T among them): seed, method,
        kind, alpha, ratio, the columns of :meth:`FactoredDescent.to_frame`, n (rows of M), r, k,
        eta, T.

    Raises:
        ValueError: no start that finds its kind of matrix, or what the algorithm refuses.
        DivergenceError: a run leaves the range of float64.

    Reference: Xiong, Ding and Du, ICLR 2024, arXiv 2310.01769.
    """
    kinds = problem_kinds(problems)
    frames = []
    for descent in descents:
        if starts := [start for start in descent.starts if start.kind in kinds]:
            frame = _descend(descent, starts, problems, seeds, k, eta, stop_below)
            frames.append(frame.assign(k=k, eta=eta, T=descent.steps))
    if not frames:
        raise ValueError(f"descents must hold a start for one of the problems' kinds, {kinds}")
    return pd.concat(frames, ignore_index=True)


def _descend(
    descent: SensingDescent,
    starts: Sequence[FactorStart],
    problems: Tables,
    seeds: Sequence[int],
    k: int,
    eta: float,
    stop_below: float,
) -> pd.DataFrame:
    posed = read_sensing(problems, seeds, [start.kind for start in starts])
    F, G = _factors(starts, posed.op.shape, seeds, k)
    symmetric = descent.parameterization == "symmetric"
    found = descent.algorithm(
        posed.op,
        posed.y,
        (F,) if symmetric else (F, G),
        eta,
        descent.steps,
        truth=posed.truth,
        record_at=np.union1d(log_spaced_steps(descent.steps), [descent.steps // 4]),
        stop_below=stop_below,
        **({"parameterization": "symmetric"} if symmetric else {}),
    )
    labels = pd.DataFrame(starts, columns=["method", "kind", "alpha", "ratio"])
    frame = found.to_frame(pd.DataFrame({"seed": seeds}), labels)
    return frame.assign(n=posed.op.shape[0], r=problem_rank(problems))


def _factors(
    starts: Sequence[FactorStart], shape: tuple[int, int], seeds: Sequence[int], k: int
) -> tuple[Float, Float]:
    """F (seeds, starts, n1, k) and G (seeds, starts, n2, k)."""
    drawn = [
        random_factors(shape, k, start.alpha, imbalance=start.ratio, seed=seeds) for start in starts
    ]
    pairs = [(F, F if start.tied else G) for start, (F, G) in zip(starts, drawn, strict=True)]
    F, G = (np.stack(factors, axis=1) for factors in zip(*pairs, strict=True))
    return F, G
