"""What charts are put together from: plainly named tables, axes, series and tooltips."""

from typing import Any

import numpy as np
import pandas as pd

from overparam.reporting.summaries import check_positive

DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4], [4, 6], [1, 4])
FEW_DECADES = 3
"""From so many on, a logarithmic axis is labelled at powers of ten alone."""
MOST_TICKS = 8
FLAT_LABELS = 44
"""Characters of category labels that stand side by side, on a phone as well."""
PANEL = {"width": 280, "height": 180}
PANELS_ABREAST = 2


def given(*columns: str | None) -> list[str]:
    """The names of the columns that are asked for, once each."""
    return list(dict.fromkeys(column for column in columns if column))


def plain_table(frame: pd.DataFrame, **columns: str | None) -> pd.DataFrame:
    """The columns under plain names, so that no character of a name means something to Vega.

    Raises:
        ValueError: no row has finite values of x and y.
    """
    table = pd.DataFrame({ours: frame[name] for ours, name in columns.items() if name})
    table = table.replace([np.inf, -np.inf], np.nan).dropna(
        subset=[c for c in ("x", "y") if c in table]
    )
    if table.empty:
        raise ValueError(f"there is nothing to draw: no rows with finite {columns['x']!r}")
    for name in table:
        if pd.api.types.is_float_dtype(table[name]):
            table[name] = table[name].map(_rounded)
    return table.reset_index(drop=True)


def _rounded(value: float) -> float:
    """Six digits: more can't be seen, and weigh on the page."""
    return float(f"{value:.6g}")


def axis_encodings(
    table: pd.DataFrame, x_title: str, y_title: str, log_x: bool, log_y: bool, *, zero: bool = False
) -> dict[str, Any]:
    """The encodings of the columns x and y: numbers on a scale, anything else as categories.

    Raises:
        ValueError: a value that a logarithmic axis can't show.
    """
    import altair as alt

    check_positive(table["x"], x_title, log_x)
    check_positive(table["y"], y_title, log_y)
    x, y = (
        make(
            field=name,
            type="quantitative" if pd.api.types.is_numeric_dtype(table[name]) else "nominal",
            title=title,
        ).sort(None)
        for make, name, title in ((alt.X, "x", x_title), (alt.Y, "y", y_title))
    )
    return {
        "x": _scaled(x, table["x"], log_x, False),
        "y": _scaled(y, table["y"], log_y, zero),
    }


def _scaled(channel: Any, values: pd.Series, log: bool, zero: bool) -> Any:
    import altair as alt

    if channel["type"] == "nominal":
        length = values.drop_duplicates().astype(str).str.len().add(2).sum()
        flat = isinstance(channel, alt.Y) or length <= FLAT_LABELS
        return channel.axis(labelAngle=0 if flat else -30, labelOverlap=False)
    if not log:
        return channel.scale(alt.Scale(zero=zero))
    channel = channel.scale(alt.Scale(type="log", nice=False, padding=6))
    low, high = np.log10([values.min(), values.max()])
    if high - low < FEW_DECADES:
        return channel.axis(format="~g")
    every = int(np.ceil((high - low) / MOST_TICKS))
    decades = [
        10.0**e for e in range(int(np.ceil(low - 1e-9)), int(np.floor(high + 1e-9)) + 1, every)
    ]
    plain = low >= -FEW_DECADES and high <= FEW_DECADES + 1
    return channel.axis(values=decades, format="~g" if plain else "~e")


def series_encodings(
    table: pd.DataFrame,
    title: str | None,
    *,
    line: bool = False,
    dash: bool = False,
    shape: bool = False,
) -> dict[str, Any]:
    """Colour, and dash or shape beside it, by series in order of appearance."""
    import altair as alt

    if title is None:
        return {}
    values = list(table["series"].drop_duplicates())
    scale = alt.Scale(domain=values)
    color = alt.Color("series:N", title=title, scale=scale)
    if line:
        color = color.legend(
            symbolType="stroke", symbolOpacity=1, symbolSize=500, symbolStrokeWidth=2
        )
    found: dict[str, Any] = {"color": color}
    if dash:
        # Where the colours start again, the dashes are shifted: no two series look the same.
        turns = [index + index // len(DASHES) for index in range(len(values))]
        dashes = [DASHES[turn % len(DASHES)] for turn in turns]
        dashed = alt.Scale(domain=values, range=dashes)
        found["strokeDash"] = alt.StrokeDash("series:N", title=title, scale=dashed)
    if shape:
        found["shape"] = alt.Shape("series:N", title=title, scale=scale)
    return found


def tooltip_fields(table: pd.DataFrame, x: str, y: str, color: str | None) -> list[Any]:
    """What is shown of a point under the pointer: its series, place, interval and n."""
    import altair as alt

    titles = {"series": color, "x": x, "y": y, "low": "from", "high": "to", "n": "n"}
    fields = []
    for name, title in titles.items():
        if title and name in table:
            field = alt.Tooltip(name, title=title)
            is_float = pd.api.types.is_float_dtype(table[name])
            fields.append(field.format(".4~g") if is_float else field)
    return fields


def in_panels(chart: Any, panel: str | None) -> Any:
    """The chart once per value of its table's column ``panel``; ``None`` leaves it as it is."""
    import altair as alt

    if panel is None:
        return chart
    facet = alt.Facet("panel:N", title=panel, sort=None)
    panels = chart.properties(**PANEL).facet(facet=facet, columns=PANELS_ABREAST)
    return panels.resolve_scale(x="independent", y="independent")
