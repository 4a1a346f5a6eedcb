"""What a user can spend, and which of the compressed models suits it best."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

SCORES = ("accuracy", "f1", "worst_class", "agreement")
ERRORS = ("rmse", "ece")
DEFAULTS = {"classification": "accuracy>=0.99*dense", "regression": "rmse<=1.05*dense"}
"""What a choice must keep where the user says nothing."""

METRICS = {"classification": "accuracy", "regression": "rmse"}
COSTS = ("bytes", "latency", "flops", "parameters", "nonzeros", "memory")
SUFFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_CLAUSE = re.compile(
    r"\s*(?P<name>[a-z0-9_]+)\s*(?P<sign><=|>=)\s*"
    r"(?P<number>\d+(\.\d*)?(e-?\d+)?)(?P<suffix>[kmg]?)\s*(?P<dense>\*\s*dense)?\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Clause:
    """``name >= value`` or ``name <= value``, in units of its own or of the dense model's."""

    name: str
    at_least: bool
    value: float
    of_dense: bool

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{self.name} {sign} {self.value:g}{' × dense' if self.of_dense else ''}"

    def limit(self, dense: pd.Series) -> float:
        """The bound as a number."""
        return self.value * float(dense[self.name]) if self.of_dense else self.value

    def met(self, rows: pd.DataFrame, dense: pd.Series) -> pd.Series:
        """Whether each row keeps it; a value that was not measured does not."""
        values, limit = rows[self.name].astype(float), self.limit(dense)
        return values >= limit if self.at_least else values <= limit

    def miss(self, rows: pd.DataFrame, dense: pd.Series) -> pd.Series:
        """By how much each row misses it, as a share of the limit; at most 0 where it is met.

        Infinite where the value was not measured.
        """
        gap = (rows[self.name].astype(float) - self.limit(dense)) * (-1 if self.at_least else 1)
        return (gap / max(abs(self.limit(dense)), 1e-12)).fillna(np.inf)


@dataclass(frozen=True)
class Budget:
    """Clauses that must hold together.

    Among models that keep it, the smallest file is chosen where a score is asked for, and the best
    score where bytes, latency or another cost is bounded.
    """

    text: str
    clauses: tuple[Clause, ...]

    @property
    def asks_score(self) -> bool:
        """Whether every clause bounds a score or an error, so that costs are to be minimised."""
        return all(clause.name in (*SCORES, *ERRORS) for clause in self.clauses)

    def met(self, rows: pd.DataFrame, dense: pd.Series) -> pd.Series:
        """Whether each row keeps all clauses."""
        kept = pd.Series(True, index=rows.index)
        for clause in self.clauses:
            kept &= clause.met(rows, dense)
        return kept

    def nearest(self, rows: pd.DataFrame, dense: pd.Series) -> int:
        """The place of the row whose largest miss of a clause is the smallest."""
        misses = np.stack([clause.miss(rows, dense).to_numpy() for clause in self.clauses])
        return int(misses.max(0).argmin())

    def best(self, rows: pd.DataFrame, dense: pd.Series, metric: str) -> Any:
        """The index of the row that suits the budget best, ``None`` where nothing meets it.

        Args:
            rows: one per candidate, with the columns that the clauses name, ``bytes`` and the
                metric.
            dense: the same of the dense model.
            metric: ``accuracy`` or ``rmse``.
        """
        kept = rows[self.met(rows, dense) & rows[metric].notna()]
        if kept.empty:
            return None
        score = kept[metric] * (-1 if metric in ERRORS else 1)
        order = ["bytes", "score"] if self.asks_score else ["score", "bytes"]
        ranked = kept.assign(score=-score).sort_values(order, kind="stable")
        return ranked.index[0]


def parse_budget(text: str) -> Budget:
    """Read ``accuracy>=0.95*dense``, ``bytes<=200k`` or several, separated by commas.

    Raises:
        ValueError: not of that form, or an unknown quantity; what is allowed is listed.

    Example:
        >>> str(parse_budget("bytes<=200k").clauses[0])
        'bytes ≤ 200000'
    """
    clauses = []
    for part in text.split(","):
        found = _CLAUSE.fullmatch(part)
        names = (*SCORES, *ERRORS, *COSTS)
        if found is None or found["name"].lower() not in names:
            raise ValueError(
                f"budget {part.strip()!r} is not of the form NAME>=NUMBER or NAME<=NUMBER, with "
                f"*dense or k, m, g behind it; names: {', '.join(names)}"
            )
        name, of_dense = found["name"].lower(), bool(found["dense"])
        if name == "latency" and not of_dense:
            raise ValueError(
                f"budget {part.strip()!r}: latency is told as a share of the dense model's, since "
                "seconds are the machine's: latency<=0.5*dense"
            )
        value = float(found["number"]) * SUFFIXES[found["suffix"].lower()]
        clauses.append(Clause(name, found["sign"] == ">=", value, of_dense))
    return Budget(text, tuple(clauses))


def budget_for(text: str | None, kind: str) -> Budget:
    """The budget of a task: the user's, or :data:`DEFAULTS`.

    Args:
        text: see :func:`parse_budget`.
        kind: ``classification`` or ``regression``.

    Raises:
        ValueError: as :func:`parse_budget`, and a quantity that this kind of task does not have.
    """
    budget = parse_budget(text or DEFAULTS[kind])
    foreign = (*SCORES, "ece") if kind == "regression" else ("rmse",)
    for clause in budget.clauses:
        if clause.name in foreign:
            raise ValueError(
                f"budget {budget.text!r}: a {kind} has no {clause.name}; "
                f"its metric is {METRICS[kind]}"
            )
    return budget


def non_dominated(cost: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Which points no other one beats: none is at most as costly and at least as good, and better.

    Equal points don't beat each other. Points with a NaN are dominated.

    Args:
        cost: (n,) less is better.
        gain: (n,) more is better.

    Returns:
        (n,) bool.

    Example:
        >>> non_dominated(np.array([1, 2, 3]), np.array([0.5, 0.4, 0.9])).tolist()
        [True, False, True]
    """
    known = ~(np.isnan(cost) | np.isnan(gain))
    kept = np.zeros(len(cost), dtype=bool)
    best = -np.inf
    for price in np.unique(cost[known]):
        here = known & (cost == price)
        top = gain[here].max()
        if top > best:
            kept |= here & (gain == top)
            best = top
    return kept
