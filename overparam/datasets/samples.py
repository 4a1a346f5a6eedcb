"""Samples as tables: how the generate step of a study hands its splits to training."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor

from overparam.datasets.containers import Labelled, Split
from overparam.store import Tables, tensor_column


def samples_table(parts: Mapping[int, Mapping[str, Labelled]]) -> pa.Table:
    """Samples of several seeds, each in parts such as train, val and test, in one table.

    Args:
        parts: seed -> part -> its samples; x alike in shape and type throughout.

    Returns:
        Columns seed, part, x (a tensor column) and y, seed after seed, part after part.

    Raises:
        ValueError: no part at all.

    Example:
        >>> found = Labelled(np.zeros((3, 2), np.float32), np.array([0, 1, 0]))
        >>> samples_table({7: {"train": found, "test": found}}).column_names
        ['seed', 'part', 'x', 'y']
    """
    tables = [
        pa.table(
            {
                "seed": pa.repeat(pa.scalar(seed, pa.int64()), len(part.y)),
                "part": pa.repeat(pa.scalar(name), len(part.y)),
                "x": tensor_column(part.x),
                "y": pa.array(part.y),
            }
        )
        for seed, by_name in parts.items()
        for name, part in by_name.items()
    ]
    if not tables:
        raise ValueError("parts holds no samples; give at least one seed with one part")
    return pa.concat_tables(tables)


def parts_tables(
    parts: Mapping[int, Mapping[str, Labelled]],
) -> dict[str, pa.Table | pd.DataFrame]:
    """Samples of several seeds, and where they come from, as two tables.

    Returns:
        ``samples``: as :func:`samples_table` has them.
        ``sources``: seed, and for each entry of ``meta`` its field and value; the parts of a seed
        have one source, and the first one names it.

    Raises:
        ValueError: no part at all.

    Example:
        >>> found = Labelled(np.zeros((3, 2)), np.array([0, 1, 0]), {"source": "drawn"})
        >>> parts_tables({7: {"train": found, "test": found}})["sources"].to_dict("records")
        [{'seed': 7, 'field': 'source', 'value': 'drawn'}]
    """
    samples = samples_table(parts)
    rows = [
        (seed, name, value)
        for seed, by_name in parts.items()
        for part in list(by_name.values())[:1]
        for name, value in part.meta.items()
    ]
    sources = pd.DataFrame(rows, columns=["seed", "field", "value"])
    return {
        "samples": samples,
        "sources": sources.astype({"seed": "int64", "field": "str", "value": "str"}),
    }


def split_tables(splits: Mapping[int, Split]) -> dict[str, pa.Table | pd.DataFrame]:
    """:func:`parts_tables` of splits, with the parts train and test.

    Example:
        >>> x, y = np.zeros((3, 2)), np.array([0, 1, 0])
        >>> split_tables({7: Split(x[:2], y[:2], x[2:], y[2:])})["samples"].column_names
        ['seed', 'part', 'x', 'y']
    """
    return parts_tables(
        {
            seed: {
                "train": Labelled(split.x_train, split.y_train, split.meta),
                "test": Labelled(split.x_test, split.y_test, split.meta),
            }
            for seed, split in splits.items()
        }
    )


def member_samples(
    tables: Tables, seeds: Sequence[int], part: str, *, name: str = "samples"
) -> tuple[Tensor, Tensor]:
    """One part of the splits of several seeds, stacked for an ensemble.

    Args:
        tables: with a table of :func:`samples_table`, of these seeds at least.
        seeds: the members' seeds, in the order wanted.
        part: ``train``, ``test`` or what other parts there are.
        name: of the table.

    Returns:
        x (E, N, ...) float32 and y (E, N) int64.

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
    stacked = np.stack([x[r] for r in rows]), np.stack([y[r] for r in rows])
    inputs, labels = (torch.from_numpy(array) for array in stacked)
    return inputs.float(), labels.long()
