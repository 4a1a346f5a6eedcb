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
from overparam.datasets.column_spool import ColumnSpool, spooled_columns
from overparam.datasets.external_shuffle import Chunk
from overparam.datasets.own_samples import TARGET, OwnSamples
from overparam.datasets.parquet_labels import tested_labels, training_labels
from overparam.datasets.parquet_layout import Layout, open_parquet, read_layout, read_pieces
from overparam.datasets.parts import TEST, TRAIN, counts_of, part_codes
from overparam.store.columns import column_to_array

INPUT = "x"


@dataclass(frozen=True)
class Source:
    """A file, the target of each row and the part that it belongs to.

    Attributes:
        file: the file.
        layout: what its columns are.
        targets: (N,) one per row.
        parts: (N,) codes.
        spool: the features, where they are columns; None of a tensor column.
    """

    file: Path
    layout: Layout
    targets: NDArray[Any]
    parts: NDArray[np.int8]
    spool: ColumnSpool | None

    @classmethod
    def read(
        cls, file: Path, layout: Layout, targets: NDArray[Any], parts: NDArray[np.int8]
    ) -> "Source":
        """Take the features out of a file that is laid out column by column."""
        spool = None if layout.tensor else spooled_columns(file, layout.features)
        return cls(file, layout, targets, parts, spool)

    def inputs(self) -> Iterator[NDArray[np.float64]]:
        """The inputs as (rows, numbers), piece by piece."""
        rows = chunk_rows(8 * self.layout.numbers)
        if self.spool is not None:
            yield from self.spool.read(rows)
            return
        name = self.layout.features[0]
        for piece in read_pieces(self.file, [name], rows):
            try:
                found = column_to_array(piece.column(name))
            except ValueError as error:
                raise ValueError(f"{self.file}: column {name!r}: {error}") from None
            values = found.reshape(len(found), -1).astype(np.float64)
            if values.shape[1] != self.layout.numbers:
                raise ValueError(
                    f"{self.file}: column {name!r} has rows of {values.shape[1]} numbers; expected "
                    f"{self.layout.numbers}"
                )
            yield values


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

    Nothing of the size of the file is held: labels are read first, then the inputs piece by piece,
    once for moments and checks and once for the rows.
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
    sources = [Source.read(file, layout, labels.values, codes)]
    mean, deviation, constant = _moments(sources[0])
    if test is not None and tested is not None:
        codes = np.full(len(tested), TEST, dtype=np.int8)
        sources.append(Source.read(test, layout, tested, codes))
        _moments(sources[1])  # checks its values
    if not standardize:
        mean, deviation = np.zeros_like(mean), np.ones_like(deviation)
    counts = sum(counts_of(source.parts, 3) for source in sources)
    return OwnSamples(
        kind="regression" if labels.regression else "classification",
        classes=labels.names,
        arrangement="tensor",
        inputs=(INPUT,),
        sizes=tuple(map(int, counts)),  # type: ignore[arg-type]
        seed=seed,
        chunks=partial(_chunks, sources, mean, deviation, standardize),
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


def _moments(
    source: Source,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Mean and deviation of the training rows, per feature or over all numbers of a tensor column.

    Chan, Golub & LeVeque's update (*Algorithms for computing the sample variance*, 1983, Eq. 2.1)
    takes no difference of large sums. Where the values are constant the deviation is 1.

    Raises:
        ValueError: NaN or infinite values; columns and how many are told.
    """
    layout = source.layout
    width = 1 if layout.tensor else layout.numbers
    bad = np.zeros(width, dtype=np.int64)
    mean, squares, largest = np.zeros(width), np.zeros(width), np.zeros(width)
    count, start = 0, 0
    for values in source.inputs():
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
    mean: NDArray[np.float64],
    deviation: NDArray[np.float64],
    standardize: bool,
) -> Iterator[Chunk]:
    layout = sources[0].layout
    kind = np.int64 if layout.whole and not standardize else np.float32
    for source in sources:
        target = np.float32 if source.targets.dtype == np.float32 else np.int64
        start = 0
        for values in source.inputs():
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
