"""How every chart looks, on a light ground and on a dark one.

Colours are those of Okabe and Ito (2008), which the colour-blind tell apart.
"""

from typing import Any

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c8c8c")
ON_DARK = ("#4aa3df", "#f0814a", "#2fbf96", "#e29cc4", "#f2b134", "#9ad5f7", "#b9b9b9")
"""The same hues, lighter."""


def theme(*, dark: bool = False) -> dict[str, Any]:
    """The Vega-Lite config of every chart, on a light or a dark ground."""
    ink, faint = ("#e4e6ea", "#3d434d") if dark else ("#22262c", "#dcdfe4")
    text = {
        "labelColor": ink,
        "titleColor": ink,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    }
    lined = {"gridColor": faint, "domainColor": ink, "tickColor": ink}
    return {
        "background": None if dark else "#ffffff",
        "font": "Arial, 'Liberation Sans', sans-serif",
        "view": {
            "continuousWidth": 600,
            "continuousHeight": 320,
            "discreteWidth": {"step": 48},
            "stroke": None,
        },
        "axis": {
            **text,
            **lined,
            "titlePadding": 8,
            "labelLimit": 160,
            "labelOverlap": "greedy",
            "labelSeparation": 6,
        },
        "axisX": {"grid": False},
        "legend": {**text, "orient": "top", "columns": 4, "symbolSize": 90, "labelLimit": 220},
        "title": {"color": ink, "fontSize": 13, "anchor": "start"},
        "header": text,
        "range": {"category": list(ON_DARK if dark else PALETTE)},
        "line": {"strokeWidth": 2},
        "point": {"size": 50, "filled": True},
        "rule": {"color": ink},
        "text": {"color": ink, "fontSize": 12},
        "mark": {"color": (ON_DARK if dark else PALETTE)[0]},
    }
