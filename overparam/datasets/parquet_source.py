"""The user's Parquet file as samples: its rows read in small pieces, checked and prepared."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from overparam.datasets.chunk_rows import chunk_rows
from overparam.datasets.external_shuffle import Chunk
from overparam.datasets.own_samples import TARGET, OwnSamples
from overparam.datasets.parquet_labels import tested_labels, training_labels
from overparam.datasets.parquet_layout import Layout, open_parquet, read_layout, read_pieces
from overparam.datasets.parts import TEST, TRAIN, part_codes
from overparam.store.columns import column_to_array

INPUT = "x"


@dataclass(frozen=True)
class Source:
    """A file, the target of each row and the part that it belongs to."""

    file: Path
    targets: NDArray[Any]
    parts: NDArray[np.int8]


def from_parquet(
    file: Path,
    *,
    test: Path | None,
    label: str | None,
    shape: tuple[int, ...] | None,
    standardize: bool,
    validation: float,
    seed: int,
) -> OwnSamples:
    """See :func:`overparam.datasets.own_source.own_samples`.

    The file is read three times, a few megabytes at a time: labels, moments (and checks), rows.
    """
    layout = read_layout(file, open_parquet(file).schema_arrow, label, shape)
    if test is not None:
        _check_layout(test, file, layout)
    labels = training_labels(file, layout.label)
    tested = None if test is None else tested_labels(test, layout.label, labels, file)
    codes = part_codes(
        labels.values,
        validation=validation,
        seed=seed,
        test=test is None,
        stratify=not labels.regression,
    )
    sources = [Source(file, labels.values, codes)]
    mean, deviation, constant = _moments(sources[0], layout)
    if test is not None and tested is not None:
        sources.append(Source(test, tested, np.full(len(tested), TEST, dtype=np.int8)))
        _moments(sources[1], layout)  # checks its values
    if not standardize:
        mean, deviation = np.zeros_like(mean), np.ones_like(deviation)
    counts = sum(np.bincount(source.parts, minlength=3) for source in sources)
    return OwnSamples(
        kind="regression" if labels.regression else "classification",
        classes=labels.names,
        arrangement="tensor",
        inputs=(INPUT,),
        sizes=tuple(map(int, counts)),  # type: ignore[arg-type]
        seed=seed,
        chunks=partial(_chunks, sources, layout, mean, deviation, standardize),
        preparation={
            "columns": list(layout.features),
            "shape": list(layout.shape),
            "standardized": standardize,
            "mean": mean.tolist(),
            "deviation": deviation.tolist(),
            "constant": [
                name for name, still in zip(layout.features, constant, strict=True) if still
            ],
            "label": layout.label,
        },
    )


def _check_layout(test: Path, file: Path, layout: Layout) -> None:
    schema = open_parquet(test).schema_arrow
    needed = (*layout.features, layout.label)
    missing = [name for name in needed if name not in schema.names]
    if missing:
        raise ValueError(f"{test} lacks the columns {', '.join(missing[:5])} of {file}")
    fields = pa.schema([schema.field(name) for name in needed])
    found = read_layout(test, fields, layout.label, layout.shape)
    if found.tensor != layout.tensor:
        raise ValueError(
            f"{test}: column {layout.features[0]!r} is not of the kind that {file} has"
        )


def _raw(file: Path, layout: Layout) -> Iterator[NDArray[np.float64]]:
    """The inputs of a file as (rows, numbers)."""
    for piece in read_pieces(file, layout.features, chunk_rows(8 * layout.numbers)):
        if not layout.tensor:
            columns = [piece.column(n).cast(pa.float64(), safe=False) for n in layout.features]
            yield np.column_stack([column.to_numpy() for column in columns])
            continue
        name = layout.features[0]
        try:
            found = column_to_array(piece.column(name))
        except ValueError as error:
            raise ValueError(f"{file}: column {name!r}: {error}") from None
        values = found.reshape(len(found), -1).astype(np.float64)
        if values.shape[1] != layout.numbers:
            raise ValueError(
                f"{file}: column {name!r} has rows of {values.shape[1]} numbers; expected "
                f"{layout.numbers}"
            )
        yield values


def _moments(
    source: Source, layout: Layout
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Mean and deviation of the training rows, per feature or over all numbers of a tensor column.

    Chan, Golub & LeVeque's update (*Algorithms for computing the sample variance*, 1983, Eq. 2.1)
    takes no difference of large sums. Where the values are constant the deviation is 1.

    Raises:
        ValueError: NaN or infinite values; columns and how many are told.
    """
    width = 1 if layout.tensor else layout.numbers
    bad = np.zeros(width, dtype=np.int64)
    mean, squares, largest = np.zeros(width), np.zeros(width), np.zeros(width)
    count, start = 0, 0
    for values in _raw(source.file, layout):
        chosen = values[source.parts[start : start + len(values)] == TRAIN].reshape(-1, width)
        start += len(values)
        bad += (~np.isfinite(values)).reshape(-1, width).sum(0)
        if bad.any() or not len(chosen):
            continue
        total = count + len(chosen)
        own = chosen.mean(0)
        delta = own - mean
        squares += ((chosen - own) ** 2).sum(0) + delta**2 * count * len(chosen) / total
        mean += delta * len(chosen) / total
        largest = np.maximum(largest, np.abs(chosen).max(0))
        count = total
    if bad.any():
        named = [f"{n!r} ({c})" for n, c in zip(layout.features, bad, strict=True) if c]
        raise ValueError(
            f"{source.file}: NaN, missing or infinite values in {', '.join(named[:5])}; allowed: "
            "none"
        )
    deviation = np.sqrt(squares / max(count, 1))
    # Rounding can leave a tiny deviation in a constant feature, which must not be blown up.
    constant = deviation <= 10 * np.finfo(np.float64).eps * largest
    return mean, np.where(constant, 1.0, deviation), constant


def _chunks(
    sources: list[Source],
    layout: Layout,
    mean: NDArray[np.float64],
    deviation: NDArray[np.float64],
    standardize: bool,
) -> Iterator[Chunk]:
    kind = np.int64 if layout.whole and not standardize else np.float32
    for source in sources:
        target = np.float32 if source.targets.dtype == np.float32 else np.int64
        start = 0
        for values in _raw(source.file, layout):
            rows = slice(start, start + len(values))
            start += len(values)
            prepared = ((values - mean) / deviation).astype(kind)
            yield (
                {
                    INPUT: prepared.reshape(-1, *layout.shape),
                    TARGET: source.targets[rows].astype(target),
                },
                source.parts[rows],
            )
