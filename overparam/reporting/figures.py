"""Draw the figures of a study: each becomes a Vega-Lite specification and a PNG, or a table."""

import json
import numbers
import traceback
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from overparam.reporting.theme import theme
from overparam.reporting.words import number
from overparam.store import Store
from overparam.study import Figure, Plan, mending, step_tables

PNG_SCALE = 1.5
MOST_ROWS = 5_000
"""Rows of data that a page holds for one figure."""


def draw_figures(plan: Plan, store: Store) -> pd.DataFrame:
    """Draw all figures of the study.

    A figure that needs a step of which nothing is there has no picture, and ``note`` says so; one
    that raises has its reason in ``error``; the others are drawn. One with more than ``MOST_ROWS``
    rows is a PNG only, and ``note`` says what its author can do.

    Returns:
        One row per figure: title, caption, spec (JSON), png (bytes), table (JSON: columns and
        rows, where the figure is a data frame), error, note.
    """
    rows = []
    for figure in plan.study.figures:
        row = {"title": figure.title, "caption": figure.caption, "spec": "", "png": b""}
        row |= {"table": "", "error": "", "note": ""}
        absent = [s.name for s in figure.inputs.values() if plan.lost.issuperset(plan.cells_of(s))]
        if absent:
            row["note"] = f"Not drawn: it needs {', '.join(absent)}, which did not complete."
            rows.append(row)
            continue
        try:
            row |= _draw(plan, store, figure)
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            row["error"] = f"{type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"
        rows.append(row)
    columns = ["title", "caption", "spec", "png", "table", "error", "note"]
    return pd.DataFrame(rows, columns=columns)


def written_answer(plan: Plan, store: Store) -> str:
    """The answer of a study without claims; empty where it declares none or a step is missing."""
    for answer in plan.study.answers:
        if all(not plan.lost.issuperset(plan.cells_of(s)) for s in answer.inputs.values()):
            return str(_called(plan, store, answer))
    return ""


def _called(plan: Plan, store: Store, figure: Figure) -> Any:
    inputs = [step_tables(plan, step, store) for step in figure.inputs.values()]
    values = {name: plan.config.step_value(name) for name in figure.fields}
    return mending(plan, store, lambda: figure.function(*inputs, **values))


def _draw(plan: Plan, store: Store, figure: Figure) -> dict[str, Any]:
    import vl_convert

    drawn = _called(plan, store, figure)
    if isinstance(drawn, pd.DataFrame):
        return {"table": json.dumps(_cells(drawn), ensure_ascii=False)}
    spec = specification(drawn)
    png = vl_convert.vegalite_to_png(spec, config=theme(), scale=PNG_SCALE)
    rows = _data_rows(spec)
    if rows > MOST_ROWS:
        note = (
            f"Shown as an image only: its data have {rows:,} rows, and {MOST_ROWS:,} fit a page. "
            "Aggregate them in the figure's function, or thin them with charts.thinned."
        )
        return {"png": png, "note": note}
    return {"spec": json.dumps(spec), "png": png}


def _cells(frame: pd.DataFrame) -> dict[str, Any]:
    """A data frame as columns, which of them are numbers, and rows of text."""
    numeric = [pd.api.types.is_numeric_dtype(frame[column]) for column in frame]
    rows = [[_in_words(value) for value in row] for row in frame.itertuples(index=False, name=None)]
    return {"columns": [str(column) for column in frame], "numeric": numeric, "rows": rows}


def _in_words(value: Any) -> str:
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return number(None)
    if isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_):
        return f"{value:,}" if isinstance(value, numbers.Integral) else number(float(value))
    return str(value)


def specification(chart: Any) -> dict[str, Any]:
    """The Vega-Lite specification of an Altair chart, its data inlined, without a theme.

    Raises:
        TypeError: not a chart.
        ValueError: data of the chart lie elsewhere, and would be missing on the page.
    """
    import altair as alt

    if not isinstance(chart, alt.TopLevelMixin):
        raise TypeError(f"a figure must return an Altair chart, not {type(chart).__name__}")
    with (
        alt.data_transformers.enable("default", max_rows=None),
        alt.theme.enable("none"),
    ):
        spec = chart.to_dict()
    outside = [data["url"] for data in _nested(spec, "data") if "url" in data]
    if outside:
        raise ValueError(f"the chart's data must be a data frame, not the address {outside[0]!r}")
    return spec


def _data_rows(spec: dict[str, Any]) -> int:
    inline = [data["values"] for data in _nested(spec, "data") if "values" in data]
    return sum(map(len, [*spec.get("datasets", {}).values(), *inline]))


def _nested(part: Any, key: str) -> Iterator[dict[str, Any]]:
    """Every mapping that stands under ``key``, at any depth; rows of data are not looked into."""
    if isinstance(part, dict):
        for name, value in part.items():
            if name == key and isinstance(value, dict):
                yield value
            elif name not in ("datasets", "values"):
                yield from _nested(value, key)
    elif isinstance(part, list):
        for value in part:
            yield from _nested(value, key)
