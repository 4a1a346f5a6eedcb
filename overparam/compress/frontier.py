"""From measured files to an answer: means over seeds, what is dominated, what suits the budget."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from overparam.compress.budget import ERRORS, Budget, non_dominated

GROUP = ("method", "ratio", "bits")
CELL = (*GROUP, "seed")
AXES = ("bytes", "latency", "flops")
"""The costs against which the score is drawn; latency at batch 1, beside the dense model's."""


def frontier(cells: pd.DataFrame, dense: pd.Series, budget: Budget, metric: str) -> pd.DataFrame:
    """One row per method, ratio and bits: means over seeds, fronts, and the choice.

    The choice is made on the validation samples and told on the test samples: choosing the best of
    many on the test set would flatter it.

    Args:
        cells: a row per measured file: method, ratio, bits, seed, the metric, ``validation`` (the
            metric there), bytes, latency, its quartiles latency_1_low and latency_1_high, flops
            and further numbers.
        dense: the same of the dense model; its latency is 1.
        budget: what the choice must keep.
        metric: ``accuracy`` or ``rmse``.

    Returns:
        The groups with mean numbers; ``low``, ``high`` of the metric over seeds; ``n``; booleans
        ``front_bytes``, ``front_latency``, ``front_flops``, ``meets`` and ``chosen``; a ``label``;
        and ``seed``, of the member that does best on the validation samples. Sorted: the chosen
        one, those that keep the budget by what it asks to save or to gain, the others by score.
    """
    if cells.empty:
        return pd.DataFrame(columns=[*GROUP, "meets", "chosen"])
    sign = -1 if metric in ERRORS else 1
    by_group = cells.groupby(list(GROUP), dropna=False, sort=False)
    numbers = [c for c in cells.select_dtypes("number") if c not in (*GROUP, "seed")]
    rows = by_group[numbers].mean()
    rows["low"], rows["high"] = by_group[metric].min(), by_group[metric].max()
    rows["n"] = by_group.size()
    best = (sign * cells["validation"]).groupby([cells[g] for g in GROUP], dropna=False, sort=False)
    rows["seed"] = cells.loc[best.idxmax().to_numpy(), "seed"].to_numpy()
    rows["format"] = by_group["format"].first()
    rows = rows.reset_index()
    rows["label"] = [label(row) for _, row in rows.iterrows()]
    for axis in AXES:
        cost, gain = rows[axis].to_numpy(float), sign * rows[metric].to_numpy(float)
        rows[f"front_{axis}"] = non_dominated(cost, gain)
    judged, judged_dense = _on_validation(rows, metric), _on_validation(dense, metric)
    rows["meets"] = budget.met(judged, judged_dense)
    winner = budget.best(judged, judged_dense, metric)
    rows["chosen"] = rows.index == winner if winner is not None else False
    score = sign * rows["validation"]
    wanted = -rows["bytes"] if budget.asks_score else score
    keys = pd.DataFrame(
        {
            "chosen": rows["chosen"],
            "meets": rows["meets"],
            "wanted": wanted.where(rows["meets"], score),
        }
    )
    order = keys.sort_values(["chosen", "meets", "wanted"], ascending=False, kind="stable").index
    return rows.loc[order].reset_index(drop=True)


def measured_cells(
    outcomes: pd.DataFrame, measured: Mapping[tuple[Any, ...], Mapping[str, Any]]
) -> pd.DataFrame:
    """One row per cell: what became of it, and the numbers of its file where it has one.

    Args:
        outcomes: method, ratio, bits, seed, state (``completed`` or ``skipped``), reason, ...
        measured: rows of :func:`overparam.measure.measure_exports` by the cell's values. One with a
            ``failure`` makes its cell ``failed``.
    """
    types = {"ratio": float, "bits": float}
    rows = [{**dict(zip(CELL, cell, strict=True)), **row} for cell, row in measured.items()]
    if not rows:
        return outcomes.astype(types)
    numbers = pd.DataFrame(rows).astype(types)
    cells = outcomes.astype(types).merge(numbers, on=list(CELL), how="left")
    lost = cells["failure"].fillna("") != ""
    cells.loc[lost, "state"] = "failed"
    cells.loc[lost, "reason"] = cells.loc[lost, "failure"]
    return cells.drop(columns="failure")


def _on_validation(rows: Any, metric: str) -> Any:
    changed = rows.copy()
    changed[metric] = rows["validation"]
    return changed


@dataclass(frozen=True)
class Choice:
    """The chosen group and the seed of its file."""

    method: str
    ratio: float | None
    bits: int | None
    seed: int

    @property
    def cell(self) -> dict[str, Any]:
        """The values of its cell."""
        return {"method": self.method, "ratio": self.ratio, "bits": self.bits, "seed": self.seed}


def choice_of(front: pd.DataFrame) -> Choice | None:
    """What :func:`frontier` chose; ``None`` where nothing meets the budget."""
    chosen = front[front["chosen"].astype(bool)]
    if chosen.empty:
        return None
    row = chosen.iloc[0]
    ratio = None if pd.isna(row["ratio"]) else float(row["ratio"])
    bits = None if pd.isna(row["bits"]) else int(row["bits"])
    return Choice(str(row["method"]), ratio, bits, int(row["seed"]))


def label(row: Any) -> str:
    """``magnitude at ratio 8``, ``gptq at 4 bits``."""
    parts = [f"ratio {row['ratio']:g}"] if pd.notna(row["ratio"]) else []
    named = str(row["method"])[-1].isdigit()  # int8, gptq4: the name says it
    if pd.notna(row["bits"]) and not named:
        parts.append(f"{int(row['bits'])} bits")
    return f"{row['method']} at {', '.join(parts)}" if parts else str(row["method"])


def sentence(front: pd.DataFrame, dense: pd.Series, budget: Budget, metric: str) -> str:
    """The answer: what to take, what it costs, what it saves; or how near anything came."""
    asked = " and ".join(str(clause) for clause in budget.clauses)
    if front.empty:
        return f"Nothing was measured, so nothing can meet your budget ({asked})."
    chosen = front[front["chosen"].astype(bool)]
    if chosen.empty:
        return _nearest(front, dense, budget, metric, asked)
    row = chosen.iloc[0]
    saved = [
        _score_change(float(row[metric]), float(dense[metric]), metric),
        _times(float(dense["bytes"]) / float(row["bytes"]), "smaller on disk", "larger on disk"),
        _speed(row),
    ]
    return f"For your budget ({asked}): {label(row)}: {', '.join(saved)}."


def _nearest(front: pd.DataFrame, dense: pd.Series, budget: Budget, metric: str, asked: str) -> str:
    judged, judged_dense = _on_validation(front, metric), _on_validation(dense, metric)
    place = budget.nearest(judged, judged_dense)
    missed = []
    for clause in budget.clauses:
        gap = float(clause.miss(judged, judged_dense).iloc[place])
        if gap > 0:
            told = " on the validation samples" if clause.name == metric else ""
            value, limit = float(judged.iloc[place][clause.name]), clause.limit(judged_dense)
            missed.append(
                f"{clause.name} {_number(value)}{told} where {_number(limit)} is asked, "
                f"{gap:.1%} off"
            )
    return (
        f"Nothing meets your budget ({asked}): {label(front.iloc[place])} comes nearest, with "
        f"{' and '.join(missed)}."
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _score_change(value: float, dense: float, metric: str) -> str:
    if metric in ERRORS:
        change = value / dense - 1 if dense else 0.0
        return f"{abs(change):.1%} {'more' if change > 0 else 'less'} {metric}"
    points = 100 * (value - dense)
    if abs(points) < 0.05:
        return f"the same {metric}"
    return f"{abs(points):.1f} points {'more' if points > 0 else 'less'} {metric}"


def _speed(row: pd.Series) -> str:
    """Faster or slower only where the quartiles of the paired ratios agree that it is."""
    if float(row["latency_1_low"]) <= 1 <= float(row["latency_1_high"]):
        return "no faster"
    return _times(1 / float(row["latency"]), "faster", "slower")


def _times(factor: float, more: str, less: str) -> str:
    """How many times, or by how many per cent where that is less than a tenth."""
    change, word = (factor, more) if factor >= 1 else (1 / factor, less)
    if change >= 1.05:
        return f"{change:.1f} times {word}"
    return f"{change - 1:.1%} {word}" if change >= 1.0005 else f"no {more}"
