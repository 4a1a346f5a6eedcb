"""Samples as tables: how the generate step of a study hands its splits to training."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from overparam.datasets.containers import Split
from overparam.store import Tables, tensor_column

PARTS = ("train", "test")


def split_tables(splits: Mapping[int, Split]) -> dict[str, pa.Table | pd.DataFrame]:
    """The splits of several seeds as two tables.

    Returns:
        ``samples``: seed, part (train or test), x (a tensor column), y, seed after seed.
        ``sources``: seed, and for each entry of ``Split.meta`` its field and value.

    Example:
        >>> x, y = np.zeros((3, 2)), np.array([0, 1, 0])
        >>> split_tables({7: Split(x[:2], y[:2], x[2:], y[2:])})["samples"].column_names
        ['seed', 'part', 'x', 'y']
    """
    tables = []
    for seed, split in splits.items():
        parts = zip(
            PARTS, (split.x_train, split.x_test), (split.y_train, split.y_test), strict=True
        )
        for part, x, y in parts:
            tables.append(
                pa.table(
                    {
                        "seed": pa.repeat(pa.scalar(seed, pa.int64()), len(y)),
                        "part": pa.repeat(pa.scalar(part), len(y)),
                        "x": tensor_column(x),
                        "y": pa.array(y),
                    }
                )
            )
    sources = pd.DataFrame(
        [
            (seed, name, value)
            for seed, split in splits.items()
            for name, value in split.meta.items()
        ],
        columns=["seed", "field", "value"],
    ).astype({"seed": "int64", "field": "str", "value": "str"})
    return {"samples": pa.concat_tables(tables), "sources": sources}


def member_samples(
    tables: Tables, seeds: Sequence[int], part: str, *, name: str = "samples"
) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """One part of the splits of several seeds, stacked for an ensemble.

    Args:
        tables: what :func:`split_tables` made, of these seeds at least.
        seeds: the members' seeds, in the order wanted.
        part: ``train`` or ``test``.
        name: of the table.

    Returns:
        x (E, N, ...) and y (E, N).

    Raises:
        ValueError: a seed has no such part, or another number of samples than the first.
    """
    which = tables.arrow(name, ["seed", "part"]).to_pandas()
    x, y = tables.array(name, "x"), tables.array(name, "y")
    rows = [np.flatnonzero((which["seed"] == s) & (which["part"] == part)) for s in seeds]
    sizes = {seed: len(found) for seed, found in zip(seeds, rows, strict=True)}
    if len(set(sizes.values())) != 1 or 0 in sizes.values():
        raise ValueError(
            f"samples of part {part!r} by seed: {sizes}; they must be as many, and some"
        )
    return np.stack([x[r] for r in rows]), np.stack([y[r] for r in rows])
