"""Charts and tables of compressed models: score against cost, seeds as bars, fronts."""

import altair as alt
import pandas as pd

from overparam.compress.frontier import label

SHRINKBENCH = (2, 4, 8, 16, 32)
"""The compression ratios at which Blalock et al. (MLSys 2020, Section 6) ask to be compared."""


def pareto_chart(
    front: pd.DataFrame, dense: pd.Series, *, cost: str, title: str, metric: str, log: bool = True
) -> alt.LayerChart | alt.FacetChart:
    """Score against cost: a point per method and setting, seeds as bars, the front as a line.

    Args:
        front: rows with method, label, the metric (a mean), low, high (over seeds), the cost, and
            ``front_COST``: whether no other point beats it; others are faded.
        dense: the same numbers of the dense model, drawn as a diamond.
        cost: the column on the horizontal axis.
        title: of that axis, with the unit.
        metric: the column on the vertical axis.
        log: whether the horizontal axis is logarithmic.
    """
    on_front = f"front_{cost}"
    columns = ["method", "label", metric, "low", "high", cost, on_front]
    # Where nothing was measured the columns are missing, and the dense model stands alone.
    table = front.reindex(columns=columns).dropna(subset=[cost, metric])
    scale = alt.Scale(type="log", nice=False, padding=12) if log else alt.Scale(zero=False)
    x = alt.X(f"{cost}:Q", title=title, scale=scale)
    y = alt.Y(f"{metric}:Q", title=f"test {metric}", scale=alt.Scale(zero=False))
    faded = alt.condition(f"datum.{on_front}", alt.value(1.0), alt.value(0.3))
    base = alt.Chart(table)
    shape = alt.Shape("method:N", legend=None)  # the colour's legend names the methods
    tooltip = ["label:N", f"{metric}:Q", "low:Q", "high:Q", f"{cost}:Q"]
    bars = base.mark_rule().encode(
        x, alt.Y("low:Q", title=""), y2="high:Q", color="method:N", opacity=faded
    )
    points = base.mark_point(filled=True, size=60).encode(
        x, y, color="method:N", shape=shape, opacity=faded, tooltip=tooltip
    )
    line = (
        alt.Chart(table[table[on_front].astype(bool)])
        .mark_line(interpolate="step-after", strokeDash=[4, 3], opacity=0.6, color="#808080")
        .encode(x, y)
    )
    given = pd.DataFrame({cost: [float(dense[cost])], metric: [float(dense[metric])]})
    mark = (
        alt.Chart(given.assign(label="dense"))
        .mark_point(shape="diamond", filled=True, size=130, color="#808080")
        .encode(x, y, tooltip=["label:N", f"{metric}:Q", f"{cost}:Q"])
    )
    return alt.layer(line, bars, points, mark)


def operating_points(front: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Score by method at the ratios of ShrinkBench that were run, with its range over seeds."""
    if front.empty:
        return pd.DataFrame(columns=["method"])
    chosen = front[front["ratio"].isin(SHRINKBENCH)]
    shown = chosen.assign(
        text=[
            f"{row[metric]:.3f} ({row['low']:.3f} to {row['high']:.3f})"
            for _, row in chosen.iterrows()
        ],
        column=[f"ratio {ratio:g}" for ratio in chosen["ratio"]],
    )
    names = [f"ratio {ratio}" for ratio in SHRINKBENCH if ratio in set(chosen["ratio"])]
    table = shown.pivot_table(
        index="method", columns="column", values="text", aggfunc="first", sort=False
    )
    return table.reindex(columns=names).reset_index().rename_axis(columns=None)


def budget_table(front: pd.DataFrame, dense: pd.Series, metric: str) -> pd.DataFrame:
    """The models of a front as readers compare them, in the front's order."""
    if front.empty:
        return pd.DataFrame(columns=["model", "keeps the budget"])
    return pd.DataFrame(
        {
            "model": front["label"],
            "keeps the budget": ["yes" if meets else "no" for meets in front["meets"]],
            f"test {metric}": front[metric],
            "format": front["format"],
            "bytes": front["bytes"].round().astype("int64"),
            "times smaller": dense["bytes"] / front["bytes"],
            "times faster": 1 / front["latency"],
            "FLOPs, share": front["flops"] / dense["flops"],
            "agrees with dense": front["agreement"],
            "seeds": front["n"],
        }
    )


def remarks_table(cells: pd.DataFrame) -> pd.DataFrame:
    """What was skipped, failed, left alone, or is no faster, and why; each reason once a model."""
    kinds = (("not measured", "reason"), ("left alone", "left_alone"), ("no faster", "why"))
    rows = [
        {"model": label(row), "what": what, "why": str(row[column])}
        for what, column in kinds
        if column in cells
        for _, row in cells.iterrows()
        if isinstance(row[column], str) and row[column]
    ]
    return pd.DataFrame(rows, columns=["model", "what", "why"]).drop_duplicates()
