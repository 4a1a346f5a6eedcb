"""The page of two runs side by side."""

from collections.abc import Mapping
from typing import Any

from overparam.reporting.html import render

KINDS = ("config", "verdict", "effect", "key", "seconds")


def comparison_page(found: Mapping[str, Any]) -> str:
    """A self-contained page.

    Args:
        found: ``left`` and ``right`` (id, study), and ``rows`` with kind, what, left, right, same.
    """
    rows = list(found["rows"])
    return render(
        "comparison.html.jinja",
        scripts=[],
        left=found["left"],
        right=found["right"],
        groups=[(kind, [row for row in rows if row["kind"] == kind]) for kind in KINDS],
    )
