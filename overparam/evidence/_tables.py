"""From a table of runs to evidence: rows of one method, one number per seed, group by group."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np

from overparam.evidence._evidence import Evidence
from overparam.evidence._summaries import exact

if TYPE_CHECKING:
    import pandas as pd


def where(frame: "pd.DataFrame", **values: Any) -> "pd.DataFrame":
    """The rows that have these values in these columns; a list or tuple means any of its items.

    Raises:
        KeyError: there is no such column.

    >>> import pandas as pd
    >>> runs = pd.DataFrame({"method": ["mag", "snip", "mag"], "seed": [0, 0, 1]})
    >>> where(runs, method="mag", seed=(1, 2)).index.tolist()
    [2]
    """
    kept = np.ones(len(frame), dtype=bool)
    for name, value in values.items():
        column = frame[name]
        found = column.isin(value) if isinstance(value, list | tuple) else column == value
        kept &= found.to_numpy(dtype=bool, na_value=False)
    return frame[kept]


def by_seed(frame: "pd.DataFrame", column: str, **values: Any) -> "pd.Series":
    """One number per seed: ``column`` in the rows that :func:`where` finds.

    The index holds every seed of ``frame``, so that two methods pair by seed. A seed for which
    there is no such row is NaN, and a method that was not run is NaN throughout: evidence of it is
    undefined, neither for nor against a claim.

    Args:
        frame: a row per run, with a column ``seed``.
        values: the method, and whatever else tells one run of a seed from another.

    Raises:
        KeyError: there is no such column.
        ValueError: a seed has several such rows.

    >>> import pandas as pd
    >>> runs = pd.DataFrame({"seed": [0, 1, 0], "method": ["mag", "mag", "snip"], "acc": [1, 2, 3]})
    >>> by_seed(runs, "acc", method="snip").tolist()
    [3.0, nan]
    """
    found = where(frame, **values).set_index("seed")[column].astype(float)
    if not found.index.is_unique:
        seed = found.index[found.index.duplicated()][0]
        named = ", ".join(f"{name}={value!r}" for name, value in values.items())
        raise ValueError(f"seed {seed} has more than one row with {named or 'no column named'}")
    return found.reindex(sorted(frame["seed"].unique()))


def per_group(
    frame: "pd.DataFrame",
    by: str | Sequence[str],
    evidence: "Callable[[pd.DataFrame], Evidence | Iterable[Evidence]]",
) -> list[Evidence]:
    """Evidence of every group of rows (task, size, ...), in order of appearance; all must hold.

    Labels begin with the group: ``digits, kappa 3: slope``. Without a row there is one piece of
    evidence, and it is undefined.

    Args:
        by: the columns that make a group.
        evidence: gives one piece or several for the rows of a group.

    >>> import pandas as pd
    >>> from overparam.evidence import worst
    >>> runs = pd.DataFrame({"task": ["a", "a", "b"], "loss": [1.0, 2.0, 3.0]})
    >>> parts = per_group(runs, "task", lambda rows: worst(rows["loss"], region=(None, 2)))
    >>> [(part.label, part.inside) for part in parts]
    [('a', True), ('b', False)]
    """
    columns = [by] if isinstance(by, str) else list(by)
    parts = []
    for group, rows in frame.groupby(columns, sort=False, observed=True):
        found = evidence(rows)
        name = ", ".join(map(_named, columns, group))
        for part in [found] if isinstance(found, Evidence) else found:
            parts.append(replace(part, label=f"{name}: {part.label}" if part.label else name))
    absent = f"nothing was run (no {' and '.join(columns)})"
    return parts or [exact(math.nan, region=(0, None), label=absent)]


def _named(column: str, value: Any) -> str:
    """``digits/mlp``, but ``kappa 3``: a word speaks for itself, a number does not."""
    return f"{column} {value:g}" if isinstance(value, Number) else str(value)
