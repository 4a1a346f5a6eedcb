"""What stands behind `Tables`: the tables of one artifact, or of none, in memory."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from upath import UPath

from overparam.store.manifest import Manifest
from overparam.store.parquet import open_table
from overparam.store.sources import TableLike, as_source

if TYPE_CHECKING:
    import pyarrow as pa

Cell = Mapping[str, Any]
BATCH_BYTES = 1 << 20


class Part(Protocol):
    """Tables by name. The cell's values are columns of each table, before the table's own."""

    names: tuple[str, ...]

    def rows(self, name: str) -> int:
        """Rows of a table."""

    def columns(self, name: str) -> tuple[str, ...]:
        """Column names of a table, the cell's included."""

    def schema(self, name: str) -> "pa.Schema":
        """Columns of a table with their types."""

    def arrow(self, name: str, columns: Sequence[str] | None = None) -> "pa.Table":
        """A table, or some of its columns."""

    def batches(self, name: str, where: Cell | None = None) -> "Iterator[pa.RecordBatch]":
        """A table in batches; only the rows whose columns have the values of `where`."""


class StoredPart:
    """The tables of one artifact."""

    def __init__(self, folder: UPath, manifest: Manifest, cell: Cell | None) -> None:
        self.names = tuple(manifest.tables)
        self._folder = folder
        self._manifest = manifest
        self._cell = dict(cell or {})

    def rows(self, name: str) -> int:
        return self._manifest.tables[name].rows

    def columns(self, name: str) -> tuple[str, ...]:
        own = self._manifest.tables[name].columns
        return (*(column for column in self._cell if column not in own), *own)

    def schema(self, name: str) -> "pa.Schema":
        with self._open(name) as file:
            return _with_cell(file.schema_arrow.empty_table(), self._cell).schema

    def arrow(self, name: str, columns: Sequence[str] | None = None) -> "pa.Table":
        with self._open(name) as file:
            # the number of rows is lost when no column is read: read one, select afterwards
            table = file.read(columns=None if columns is None else self._stored(name, columns))
        table = _with_cell(table, self._cell)
        return table if columns is None else table.select(columns)

    def batches(self, name: str, where: Cell | None = None) -> "Iterator[pa.RecordBatch]":
        wanted = _matching(self._cell, self._manifest.tables[name].columns, where)
        if wanted is None:
            return
        with self._open(name) as file:
            kind = (file.schema_arrow.metadata or {}).get(b"overparam.kind")
            for group in range(file.num_row_groups):
                layout = file.metadata.row_group(group)
                if _may_hold(layout, wanted):
                    # a row of weights is large: one at a time keeps a reader's memory at a row,
                    # not at a block
                    size = 1 if kind == b"weights" else _rows_at_a_time(layout)
                    for batch in file.iter_batches(
                        batch_size=size, row_groups=[group], use_threads=False
                    ):
                        yield from _with_cell(_selected(batch, wanted), self._cell).to_batches()

    def _open(self, name: str) -> Any:
        return open_table(self._folder, self._manifest.ref, name, self._manifest.tables[name])

    def _stored(self, name: str, columns: Sequence[str]) -> list[str]:
        own = self._manifest.tables[name].columns
        return [column for column in columns if column in own] or list(own)[:1]


class MemoryPart:
    """Tables in memory of their own: changing what they were made from changes nothing here."""

    def __init__(self, tables: Mapping[str, TableLike], cell: Cell | None) -> None:
        self.names = tuple(tables)
        self._tables = {
            name: _with_cell(_copied(name, table), dict(cell or {}))
            for name, table in tables.items()
        }

    def rows(self, name: str) -> int:
        return self._tables[name].num_rows

    def columns(self, name: str) -> tuple[str, ...]:
        return tuple(self._tables[name].column_names)

    def schema(self, name: str) -> "pa.Schema":
        return self._tables[name].schema

    def arrow(self, name: str, columns: Sequence[str] | None = None) -> "pa.Table":
        table = self._tables[name]
        return table if columns is None else table.select(columns)

    def batches(self, name: str, where: Cell | None = None) -> "Iterator[pa.RecordBatch]":
        for batch in self._tables[name].to_batches():
            yield from _selected(batch, dict(where or {})).to_batches()


def _copied(name: str, table: TableLike) -> "pa.Table":
    import pyarrow as pa

    source = as_source(name, table)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, source.schema) as writer:
        for batch in source.batches:
            writer.write_batch(batch)
    return pa.ipc.open_stream(sink.getvalue()).read_all()


def _with_cell(table: "pa.Table", cell: Cell) -> "pa.Table":
    import pyarrow as pa

    for name, value in reversed(list(cell.items())):
        if name not in table.column_names:
            table = table.add_column(0, name, pa.repeat(pa.scalar(value), table.num_rows))
    return table


def _matching(cell: Cell, own: Mapping[str, str], where: Cell | None) -> dict[str, Any] | None:
    """What of `where` is left for the rows to fulfil; None if the cell rules all of them out."""
    wanted = {}
    for name, value in (where or {}).items():
        if name in own:
            wanted[name] = value
        elif cell.get(name) != value:
            return None
    return wanted


def _rows_at_a_time(layout: Any) -> int:
    """As many rows of a row group as make `BATCH_BYTES`: what a reader adds is some times that."""
    return max(1, layout.num_rows * BATCH_BYTES // max(BATCH_BYTES, layout.total_byte_size))


def _may_hold(layout: Any, wanted: Mapping[str, Any]) -> bool:
    for position in range(layout.num_columns):
        column = layout.column(position)
        statistics = column.statistics
        if column.path_in_schema in wanted and statistics is not None and statistics.has_min_max:
            value = wanted[column.path_in_schema]
            try:
                if value < statistics.min or value > statistics.max:
                    return False
            except TypeError:  # a string asked for in a column of numbers
                return False
    return True


def _selected(batch: "pa.RecordBatch", wanted: Mapping[str, Any]) -> "pa.Table":
    import pyarrow as pa

    table = pa.Table.from_batches([batch])
    for name, value in wanted.items():
        mask = [cell == value for cell in table.column(name).to_pylist()]
        if not all(mask):
            table = table.filter(pa.array(mask, pa.bool_()))
    return table
