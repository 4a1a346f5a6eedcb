"""Sensing problems as tables: how the generate step of a study hands them to training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from overparam.datasets.matrix_sensing import SensingOperator, SensingProblem
from overparam.store import Tables

__all__ = ["problem_kinds", "read_sensing", "sensing_tables"]


def sensing_tables(
    op: SensingOperator, problems: Mapping[str, tuple[ArrayLike, ArrayLike]], seeds: Sequence[int]
) -> dict[str, pd.DataFrame]:
    """One operator per seed, and for each kind of unknown matrix its M and y.

    Args:
        op: a batch of S operators, or one that all seeds share.
        problems: by kind, M (S, n1, n2), NaN where it is not known, and y (S, m); without the
            axis S, all seeds have the same.
        seeds: S of them.

    Returns:
        ``problems``: seed, kind, M, y; ``sensing``: seed, A (m, n1, n2), missing for the identity.

    Example:
        >>> op = SensingOperator((2, 2), kind="identity")
        >>> tables = sensing_tables(op, {"symmetric": (np.eye(2), np.ones(4))}, seeds=(3, 4))
        >>> list(tables), tables["problems"]["seed"].tolist()
        (['problems'], [3, 4])
    """
    rows = []
    for kind, (M, y) in problems.items():
        each = np.broadcast_to(M, (len(seeds), *op.shape)), np.broadcast_to(y, (len(seeds), op.m))
        rows += [(seed, kind, *pair) for seed, *pair in zip(seeds, *each, strict=True)]
    tables = {"problems": pd.DataFrame(rows, columns=["seed", "kind", "M", "y"])}
    if op.matrices is not None:
        A = np.broadcast_to(
            op.matrices.reshape(*op.matrices.shape[:-1], *op.shape), (len(seeds), op.m, *op.shape)
        )
        tables["sensing"] = pd.DataFrame({"seed": list(seeds), "A": list(A)})
    return tables


def problem_kinds(tables: Tables) -> list[str]:
    """The kinds of unknown matrices that there are."""
    return list(tables["problems"]["kind"].unique())


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
