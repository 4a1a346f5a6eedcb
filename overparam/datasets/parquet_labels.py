"""Labels of the user's Parquet file: classes as codes with their names kept, or floats."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from overparam.datasets.parquet_layout import open_parquet, read_pieces
from overparam.datasets.parts import check_classes, counts_of

PIECE_ROWS = 1 << 16
Kind = Literal["floats", "whole numbers", "booleans", "words"]


@dataclass(frozen=True)
class Labels:
    """All labels of a file.

    Attributes:
        kind: what the column holds; floats make a regression, all else a classification.
        values: (N,) float32, or the place of each label in ``classes``, int32.
        classes: the distinct labels, sorted; none for floats.
    """

    kind: Kind
    values: NDArray[Any]
    classes: tuple[Any, ...] = ()

    @property
    def regression(self) -> bool:
        """Whether they are floats."""
        return self.kind == "floats"

    @property
    def names(self) -> tuple[str, ...]:
        """The classes' names: words as they are, numbers and booleans as Python writes them."""
        return tuple(map(str, self.classes))


def training_labels(file: Path, column: str) -> Labels:
    """Read labels to learn from.

    Raises:
        ValueError: missing values, NaN, one class, a class of fewer than three samples, or so many
            classes that they look like a regression; names file, column, value, what is allowed.
    """
    found = _read(file, column)
    if found.regression:
        return found
    n = len(found.values)
    if len(found.classes) > n / 2:
        raise ValueError(
            f"{file}: the label {column!r} has {len(found.classes)} distinct values in {n} "
            "rows; for a regression it must be floats"
        )
    counts = counts_of(found.values, len(found.classes))
    check_classes(found.names, counts.tolist(), f"{file}: the label {column!r}")
    return found


def tested_labels(test: Path, column: str, training: Labels, file: Path) -> NDArray[Any]:
    """Labels of a test file, in the codes of the training file.

    Raises:
        ValueError: they are of another kind, or some are not among the classes of training.
    """
    found = _read(test, column)
    if found.kind != training.kind:
        raise ValueError(
            f"{test}: the label {column!r} holds {found.kind}, unlike in {file}: {training.kind}"
        )
    if found.regression:
        return found.values
    code = {value: place for place, value in enumerate(training.classes)}
    unseen = [str(value) for value in found.classes if value not in code]
    if unseen:
        raise ValueError(
            f"{test}: labels that training does not have: {_some(unseen, 5)}; "
            f"allowed: {_some(training.names, 20)}"
        )
    return np.array([code[value] for value in found.classes], dtype=np.int32)[found.values]


def _read(file: Path, column: str) -> Labels:
    opened = open_parquet(file)
    kind = _kind(file, column, opened.schema_arrow.field(column).type)
    values = np.empty(opened.metadata.num_rows, np.float32 if kind == "floats" else np.int32)
    code: dict[Any, int] = {}
    missing, start = 0, 0
    for piece in read_pieces(file, [column], PIECE_ROWS):
        labels = _plain(piece.column(column))
        missing += labels.null_count
        part = slice(start, start + len(labels))
        start += len(labels)
        if missing:
            continue
        if kind == "floats":
            with np.errstate(over="ignore"):
                values[part] = labels.cast(pa.float64()).to_numpy()
            continue
        encoded = pc.dictionary_encode(labels).combine_chunks()
        places = [code.setdefault(value, len(code)) for value in encoded.dictionary.to_pylist()]
        values[part] = np.array(places, dtype=np.int32)[encoded.indices.to_numpy()]
    if missing:
        raise ValueError(
            f"{file}: the label {column!r} has {missing} missing values; allowed: none"
        )
    if kind == "floats":
        bad = int((~np.isfinite(values)).sum())
        if bad:
            raise ValueError(
                f"{file}: the label {column!r} has {bad} NaN or infinite values (as float32); "
                "allowed: none"
            )
        return Labels(kind, values)
    classes = sorted(code)
    rank = np.empty(len(code), dtype=np.int32)
    rank[[code[value] for value in classes]] = np.arange(len(classes))
    for start in range(0, len(values), PIECE_ROWS):
        piece = values[start : start + PIECE_ROWS]
        piece[:] = rank[piece]
    return Labels(kind, values, tuple(classes))


def _kind(file: Path, column: str, kind: pa.DataType) -> Kind:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "floats"
    if pa.types.is_integer(kind):
        return "whole numbers"
    if pa.types.is_boolean(kind):
        return "booleans"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "words"
    raise ValueError(
        f"{file}: the label {column!r} is {kind}; allowed: whole numbers, strings or "
        "booleans (classes), or floats (regression)"
    )


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    return column.cast(kind.value_type) if pa.types.is_dictionary(kind) else column


def _some(names: Sequence[str], most: int) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
