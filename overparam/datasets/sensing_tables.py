"""Sensing problems as tables: how the generate step of a study hands them to training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from overparam.datasets.matrix_sensing import (
    SensingOperator,
    SensingProblem,
    load_sensing_problem,
    low_rank_ground_truth,
    positive_semidefinite,
)
from overparam.store import Tables

__all__ = [
    "drawn_sensing_tables",
    "own_sensing_tables",
    "problem_kinds",
    "problem_rank",
    "read_sensing",
    "sensing_tables",
]


def drawn_sensing_tables(
    n: int,
    r: int,
    m: int | None,
    operator: Literal["gaussian", "identity"],
    seeds: Sequence[int],
    *,
    kappa: float = 1.0,
    noise: float = 0.0,
) -> dict[str, pd.DataFrame]:
    """For each seed sensing matrices, and an asymmetric and a symmetric M of rank r to recover.

    Args:
        n: M is n x n.
        r, kappa: rank and condition number, :func:`~overparam.datasets.low_rank_ground_truth`.
        m: measurements; None for the identity.
        operator: kind of :class:`~overparam.datasets.SensingOperator`.
        noise: standard deviation of errors added to y.

    Returns:
        the tables of :func:`sensing_tables`.

    Raises:
        ValueError: what the operator and the ground truth refuse.
    """
    op = SensingOperator((n, n), m, operator, seed=seeds)
    problems = {}
    for kind in ("asymmetric", "symmetric"):
        M = low_rank_ground_truth(n, n, r, kappa, kind == "symmetric", seeds)
        problems[kind] = M, op.measure(M, noise, seeds)
    return sensing_tables(op, problems, seeds, r)


def own_sensing_tables(path: str | Path, r: int, seeds: Sequence[int]) -> dict[str, pd.DataFrame]:
    """A user's measurements, the same for every seed; M is NaN where the file lacks it.

    A matrix that is known to be X X^T is a symmetric problem too.

    Args:
        path: for :func:`~overparam.datasets.load_sensing_problem`.
        r: rank of M, or a guess at it.

    Returns:
        the tables of :func:`sensing_tables`.

    Raises:
        FileNotFoundError, ValueError: what loading refuses.
    """
    own = load_sensing_problem(path)
    M = np.full(own.op.shape, np.nan) if own.truth is None else own.truth
    kinds = ("asymmetric", "symmetric") if positive_semidefinite(M) else ("asymmetric",)
    return sensing_tables(own.op, dict.fromkeys(kinds, (M, own.y)), seeds, r)


def sensing_tables(
    op: SensingOperator,
    problems: Mapping[str, tuple[ArrayLike, ArrayLike]],
    seeds: Sequence[int],
    r: int,
) -> dict[str, pd.DataFrame]:
    """One operator per seed, and for each kind of unknown matrix its M and y.

    Args:
        op: a batch of S operators, or one that all seeds share.
        problems: by kind, M (S, n1, n2), NaN where it is not known, and y (S, m); without the
            axis S, all seeds have the same.
        seeds: S of them.
        r: the rank of M, as far as it is known.

    Returns:
        ``problems``: seed, kind, M, y, r; ``sensing``: seed, A (m, n1, n2), missing for the
        identity.

    Example:
        >>> op = SensingOperator((2, 2), kind="identity")
        >>> tables = sensing_tables(op, {"symmetric": (np.eye(2), np.ones(4))}, seeds=(3, 4), r=2)
        >>> list(tables), tables["problems"]["seed"].tolist()
        (['problems'], [3, 4])
    """
    rows = []
    for kind, (M, y) in problems.items():
        each = np.broadcast_to(M, (len(seeds), *op.shape)), np.broadcast_to(y, (len(seeds), op.m))
        rows += [(seed, kind, *pair) for seed, *pair in zip(seeds, *each, strict=True)]
    frame = pd.DataFrame(rows, columns=["seed", "kind", "M", "y"])
    tables = {"problems": frame.assign(r=r)}
    if op.matrices is not None:
        A = np.broadcast_to(
            op.matrices.reshape(*op.matrices.shape[:-1], *op.shape), (len(seeds), op.m, *op.shape)
        )
        tables["sensing"] = pd.DataFrame({"seed": list(seeds), "A": list(A)})
    return tables


def problem_kinds(tables: Tables) -> list[str]:
    """The kinds of unknown matrices that there are."""
    return list(tables["problems"]["kind"].unique())


def problem_rank(tables: Tables) -> int:
    """The rank r of the unknown matrices."""
    return int(tables["problems"]["r"].iloc[0])


def read_sensing(tables: Tables, seeds: Sequence[int], kinds: Sequence[str]) -> SensingProblem:
    """The problems of some seeds, stacked for a batch of descents.

    Args:
        tables: what :func:`sensing_tables` made, of these seeds at least.
        seeds: S seeds, the leading axis.
        kinds: for each of J starts the kind of its matrix, the second axis.

    Returns:
        a batch of S operators (or the identity), y (S, J, m), and M (S, J, n1, n2) or None where
        one of them is not known.

    Raises:
        KeyError: there is no such seed or kind.
    """
    rows = tables["problems"].set_index(["seed", "kind"])
    wanted = [(seed, kind) for seed in seeds for kind in kinds]
    M, y = (np.stack(list(rows[name].loc[wanted])) for name in ("M", "y"))
    M, y = (each.reshape(len(seeds), len(kinds), *each.shape[1:]) for each in (M, y))
    if "sensing" in tables:
        A = tables["sensing"].set_index("seed")["A"].loc[list(seeds)]
        op = SensingOperator.from_matrices(np.stack(list(A)))
    else:
        op = SensingOperator((M.shape[-2], M.shape[-1]), kind="identity")
    return SensingProblem(op, y, _known(M))


def _known(M: NDArray[np.float64]) -> NDArray[np.float64] | None:
    return None if np.isnan(M).any() else M
