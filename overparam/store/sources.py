"""What a step may return as a table, in one form: a schema and an iterator of batches."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Union

from overparam.store.columns import check_column_names, frame_to_arrow
from overparam.store.names import check_name
from overparam.store.weights import Weights

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

TableLike = Union[
    "pd.DataFrame",
    "pa.Table",
    "pa.RecordBatch",
    "pa.RecordBatchReader",
    "Iterable[pa.RecordBatch]",
    Weights,
]


@dataclass(frozen=True)
class Source:
    """A table on its way into a file.

    Attributes:
        schema: of every batch.
        batches: the rows, once.
        weights: whether these are blocks of weights, each batch one block.
    """

    schema: "pa.Schema"
    batches: "Iterator[pa.RecordBatch]"
    weights: bool = False


def as_source(name: str, table: TableLike) -> Source:
    """The table called `name` as a source of record batches.

    A data frame is converted at once; an iterator is run up to its first batch, for the schema.

    Raises:
        StoreNameError: a name that can't be a file's.
        TypeError: something that is no table.
        ValueError: a table that can't be stored exactly (see `frame_to_arrow`), or an iterator
            without a batch.
    """
    check_name("table", name)
    import pyarrow as pa

    pandas = sys.modules.get(
        "pandas"
    )  # who has a frame has pandas: no need to import it for the others
    if pandas is not None and isinstance(table, pandas.DataFrame):
        table = frame_to_arrow(name, table)
    if isinstance(table, Weights):
        return Source(table.schema, table.batches(), weights=True)
    if isinstance(table, pa.Table):
        source = Source(table.schema, iter(table.to_batches()))
    elif isinstance(table, pa.RecordBatch):
        source = Source(table.schema, iter([table]))
    elif isinstance(table, pa.RecordBatchReader):
        source = Source(table.schema, iter(table))
    elif isinstance(table, Iterable) and not isinstance(table, Mapping | str | bytes):
        source = _peeked(name, iter(table))
    else:
        raise TypeError(
            f"table {name!r} is a {type(table).__name__}. Allowed are a pandas data frame, a "
            f"pyarrow table, record "
            "batch or reader, an iterator of record batches, and Weights"
        )
    check_column_names(name, source.schema.names)
    weights = (source.schema.metadata or {}).get(b"overparam.kind") == b"weights"
    return Source(source.schema, _alike(name, source.schema, source.batches), weights)


def _peeked(name: str, batches: "Iterator[pa.RecordBatch]") -> Source:
    import pyarrow as pa

    first = next(batches, None)
    if first is None:
        raise ValueError(
            f"table {name!r}: an iterator without a batch has no columns. Yield an empty batch, "
            f"or return a "
            "pyarrow.RecordBatchReader"
        )
    if not isinstance(first, pa.RecordBatch):
        raise TypeError(
            f"table {name!r}: its iterator yields {type(first).__name__}, allowed is "
            f"pyarrow.RecordBatch"
        )
    return Source(first.schema, chain([first], batches))


def _alike(
    name: str, schema: "pa.Schema", batches: "Iterator[pa.RecordBatch]"
) -> "Iterator[pa.RecordBatch]":
    import pyarrow as pa

    for number, batch in enumerate(batches):
        if not isinstance(batch, pa.RecordBatch):
            raise TypeError(
                f"table {name!r}: its iterator yields {type(batch).__name__}, allowed is "
                f"pyarrow.RecordBatch"
            )
        if not batch.schema.equals(schema):
            raise ValueError(
                f"table {name!r}: batch {number} has columns {_described(batch.schema)}, the "
                f"first one "
                f"{_described(schema)}"
            )
        yield batch


def _described(schema: "pa.Schema") -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)
