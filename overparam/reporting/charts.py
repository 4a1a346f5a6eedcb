"""Charts that studies share: bands, curves, bars, histograms and points over seeds.

Everything is aggregated or thinned here, so that a chart carries few rows. Lines differ in dashes
and points in shape as well as in colour. What the functions return are Altair charts: layer them
with ``+``, put them side by side with ``|``. With ``panel`` a chart is drawn once per value of a
column (a task, a model), with axes of its own and the series of all; such a chart can't be layered.
"""

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from overparam.reporting.encodings import (
    axis_encodings,
    given,
    in_panels,
    plain_table,
    series_encodings,
    tooltip_fields,
)
from overparam.reporting.summaries import check_positive, intervals, thinned

if TYPE_CHECKING:
    import altair as alt

__all__ = [
    "band",
    "bars",
    "histogram",
    "intervals",
    "lines",
    "points",
    "reference_line",
    "scatter",
    "thinned",
]

LINE_ROWS = 4_000
"""Rows that all lines of one chart share."""


def band(
    frame: pd.DataFrame,
    x: str,
    y: str,
    color: str | None = None,
    *,
    panel: str | None = None,
    log_x: bool = False,
    log_y: bool = False,
    x_title: str | None = None,
    y_title: str | None = None,
) -> "alt.LayerChart | alt.FacetChart":
    """Mean of ``y`` over the rows of one ``x`` (the seeds) as a line, :func:`intervals` as a band.

    Args:
        frame: one row per seed and value of ``x``.
        color: the column whose values are compared, by colour and dash.
        panel: the column with a panel for each value.
        log_x, log_y: logarithmic axes; with ``log_y`` means and intervals are of the logarithm.

    Raises:
        ValueError: no rows, or a value that a logarithmic axis can't show.
    """
    import altair as alt

    base, table = _means(frame, x, y, color, panel, log=log_y)
    axes = axis_encodings(table, x_title or x, y_title or f"mean {y}", log_x, log_y)
    line = base.mark_line(point={"size": 36}).encode(
        **axes,
        **series_encodings(table, color, line=True, dash=True),
        tooltip=tooltip_fields(table, x, y, color),
    )
    spread = base.mark_area(opacity=0.18).encode(
        x=axes["x"],
        y=axes["y"].copy().field("low"),
        y2="high:Q",
        **series_encodings(table, color, line=True),
    )
    chart = spread + line if table["low"].notna().any() else alt.LayerChart(layer=[line])
    return in_panels(chart, panel)


def points(
    frame: pd.DataFrame,
    x: str,
    y: str,
    color: str | None = None,
    *,
    panel: str | None = None,
    log_x: bool = False,
    log_y: bool = False,
    x_title: str | None = None,
    y_title: str | None = None,
) -> "alt.LayerChart | alt.FacetChart":
    """Mean of ``y`` over the rows of one ``x`` as a point, :func:`intervals` as a rule through it.

    For methods of which each has a place of its own on ``x`` (a size, a cost); a curve over ``x``
    is a :func:`band`. Arguments and errors as there.
    """
    import altair as alt

    base, table = _means(frame, x, y, color, panel, log=log_y)
    axes = axis_encodings(table, x_title or x, y_title or f"mean {y}", log_x, log_y)
    point = base.mark_point(size=60).encode(
        **axes,
        **series_encodings(table, color, shape=True),
        tooltip=tooltip_fields(table, x, y, color),
    )
    rule = base.mark_rule(opacity=0.5).encode(
        x=axes["x"],
        y=axes["y"].copy().field("low"),
        y2="high:Q",
        **series_encodings(table, color),
    )
    chart = rule + point if table["low"].notna().any() else alt.LayerChart(layer=[point])
    return in_panels(chart, panel)


def _means(
    frame: pd.DataFrame, x: str, y: str, color: str | None, panel: str | None, *, log: bool
) -> "tuple[alt.Chart, pd.DataFrame]":
    import altair as alt

    means = intervals(frame, given(x, color, panel), y, log=log)
    table = plain_table(
        means, x=x, y="mean", series=color, panel=panel, low="low", high="high", n="n"
    )
    return alt.Chart(table), table


def lines(
    frame: pd.DataFrame,
    x: str,
    y: str,
    color: str | None = None,
    *,
    each: str | None = None,
    panel: str | None = None,
    log_x: bool = False,
    log_y: bool = False,
    x_title: str | None = None,
    y_title: str | None = None,
) -> "alt.Chart | alt.FacetChart":
    """One curve per value of ``color`` (and of ``each``, a seed say), thinned to fit a page.

    Raises:
        ValueError: no rows, or a value that a logarithmic axis can't show.
    """
    import altair as alt

    groups = given(color, each, panel)
    curves = len(frame[groups].drop_duplicates()) if groups else 1
    thin = thinned(frame, x, groups, rows=max(2, LINE_ROWS // max(1, curves)), log=log_x)
    table = plain_table(thin, x=x, y=y, series=color, each=each, panel=panel)
    chart = (
        alt.Chart(table)
        .mark_line(opacity=0.6 if each else 1.0)
        .encode(
            **axis_encodings(table, x_title or x, y_title or y, log_x, log_y),
            **series_encodings(table, color, line=True, dash=True),
            **({"detail": "each:N"} if each else {}),
            tooltip=tooltip_fields(table, x, y, color),
        )
    )
    return in_panels(chart, panel)


def scatter(
    frame: pd.DataFrame,
    x: str,
    y: str,
    color: str | None = None,
    *,
    panel: str | None = None,
    log_x: bool = False,
    log_y: bool = False,
    x_title: str | None = None,
    y_title: str | None = None,
) -> "alt.Chart | alt.FacetChart":
    """A point per row.

    Raises:
        ValueError: no rows, or a value that a logarithmic axis can't show.
    """
    import altair as alt

    table = plain_table(frame, x=x, y=y, series=color, panel=panel)
    chart = (
        alt.Chart(table)
        .mark_point()
        .encode(
            **axis_encodings(table, x_title or x, y_title or y, log_x, log_y),
            **series_encodings(table, color, shape=True),
            tooltip=tooltip_fields(table, x, y, color),
        )
    )
    return in_panels(chart, panel)


def bars(
    frame: pd.DataFrame,
    category: str,
    value: str,
    color: str | None = None,
    *,
    title: str | None = None,
) -> "alt.LayerChart":
    """Mean of ``value`` per category as a bar from zero, :func:`intervals` as a rule on it.

    Raises:
        ValueError: no rows.
    """
    import altair as alt

    means = intervals(frame, given(category, color), value)
    table = plain_table(means, x=category, y="mean", series=color, low="low", high="high", n="n")
    table["x"] = table["x"].astype(str)
    axes = axis_encodings(table, category, title or f"mean {value}", False, False, zero=True)
    beside = {"xOffset": {"field": "series", "sort": None}} if color else {}
    base = alt.Chart(table)
    bar = base.mark_bar().encode(
        **axes,
        **beside,
        **series_encodings(table, color),
        tooltip=tooltip_fields(table, category, value, color),
    )
    rule = base.mark_rule(strokeWidth=1.5).encode(
        x=axes["x"], y=axes["y"].copy().field("low"), y2="high:Q", **beside
    )
    return bar + rule if table["low"].notna().any() else alt.LayerChart(layer=[bar])


def histogram(
    frame: pd.DataFrame,
    value: str,
    color: str | None = None,
    *,
    bins: int = 40,
    log_x: bool = False,
    title: str | None = None,
) -> "alt.Chart":
    """Counts of ``value`` in bins that all series share; only the counts go into the chart.

    Raises:
        ValueError: no finite values, or a value that a logarithmic axis can't show.
    """
    import altair as alt

    table = plain_table(frame, x=value, series=color)
    check_positive(table["x"], value, log_x)
    at = np.log10(table["x"]) if log_x else table["x"]
    edges = np.histogram_bin_edges(at, bins)
    groups = table.groupby("series", sort=False) if color else [(value, table)]
    counts = pd.concat(
        pd.DataFrame(
            {
                "series": name,
                "x": 10.0 ** edges[:-1] if log_x else edges[:-1],
                "end": 10.0 ** edges[1:] if log_x else edges[1:],
                "y": np.histogram(at[rows.index], edges)[0],
            }
        )
        for name, rows in groups
    )
    counts = counts[counts["y"] > 0].reset_index(drop=True)
    axes = axis_encodings(counts, title or value, "count", log_x, False, zero=True)
    return (
        alt.Chart(counts)
        .mark_bar(opacity=0.6 if color else 1.0)
        .encode(
            x=axes["x"],
            x2="end:Q",
            y=axes["y"].stack(None),
            y2=alt.datum(0),
            **series_encodings(counts, color),
            tooltip=tooltip_fields(counts, value, "count", color),
        )
    )


def reference_line(
    value: float, label: str = "", *, axis: Literal["x", "y"] = "y"
) -> "alt.LayerChart":
    """A dashed line across a chart at ``value`` of one axis, to be layered on it."""
    import altair as alt

    base = alt.Chart(pd.DataFrame({"label": [label]}))
    rule = base.mark_rule(strokeDash=[5, 4])
    if axis == "x":
        text = base.mark_text(align="left", baseline="top", dx=5, dy=2)
        return rule.encode(x=alt.datum(value)) + text.encode(
            x=alt.datum(value), y=alt.value(0), text="label:N"
        )
    text = base.mark_text(align="right", baseline="bottom", dx=-4, dy=-3)
    return rule.encode(y=alt.datum(value)) + text.encode(
        x=alt.value("width"), y=alt.datum(value), text="label:N"
    )
