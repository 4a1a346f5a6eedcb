"""Whether two runs gave the same tables, wall-clock columns apart."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from overparam.store.parquet import volatile_columns
from overparam.store.sources import as_source
from overparam.store.tables import Tables

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def content_digest(table: "pa.Table | pd.DataFrame", *, volatile: Iterable[str] = ()) -> str:
    """SHA-256 over a table's column names, types and values, bit by bit, however it is batched.

    Columns that `volatile` or the table's own schema names as volatile are left out.
    """
    digests = _column_digests(table, volatile)
    return hashlib.sha256(repr(sorted(digests.items())).encode()).hexdigest()


def differences(
    a: Mapping[str, Any], b: Mapping[str, Any], *, volatile: Iterable[str] = ()
) -> list[str]:
    """In which tables and columns `a` and `b` differ; empty when they agree.

    Args:
        a: `Tables`, or a mapping of names to data frames or Arrow tables.
        b: likewise.
        volatile: columns to leave out, besides those that were written as volatile.
    """
    skipped = set(volatile)
    found = [f"table {name!r} is in one only" for name in sorted(set(a) ^ set(b))]
    for name in sorted(set(a) & set(b)):
        ours, theirs = _arrow(a, name), _arrow(b, name)
        ours_volatile = skipped | volatile_columns(ours.schema) | volatile_columns(theirs.schema)
        one, two = (
            _column_digests(ours, ours_volatile),
            _column_digests(theirs, ours_volatile),
        )
        found += [
            f"table {name!r}: column {column!r} differs"
            for column in sorted(set(one) | set(two))
            if one.get(column) != two.get(column)
        ]
    return found


def equal_tables(
    a: Mapping[str, Any], b: Mapping[str, Any], *, volatile: Iterable[str] = ()
) -> bool:
    """Whether `a` and `b` have the same tables, bit for bit (see `differences`)."""
    return not differences(a, b, volatile=volatile)


def _arrow(tables: Mapping[str, Any], name: str) -> "pa.Table":
    import pyarrow as pa

    if isinstance(tables, Tables):
        return tables.arrow(name)
    source = as_source(name, tables[name])
    return pa.Table.from_batches(list(source.batches), source.schema)


def _column_digests(table: Any, volatile: Iterable[str]) -> dict[str, str]:
    arrow = _arrow({"table": table}, "table")
    skipped = set(volatile) | volatile_columns(arrow.schema)
    return {name: _digest(arrow.column(name)) for name in arrow.column_names if name not in skipped}


def _digest(column: "pa.ChunkedArray") -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = column.type
    if pa.types.is_dictionary(kind):  # which code a category has doesn't matter
        column = column.cast(kind.value_type)
    digest = _Digest()
    whole = column.combine_chunks()
    table = pa.table({"values": getattr(whole, "storage", whole)})
    # Parquet's plain encoding has neither what lies under a missing value nor the limits of chunks
    pq.write_table(
        table,
        digest,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        store_schema=False,
    )
    return f"{kind} {len(column)} {digest.sha256.hexdigest()}"


class _Digest:
    """A file that keeps nothing but the hash of what is written."""

    closed = False

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes) -> None:
        self.sha256.update(data)
        self._size += len(data)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is open."""
