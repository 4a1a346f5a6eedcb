"""The tables that a step reads: lazily, from one artifact, from several as one, or from memory."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from overparam.store.columns import arrow_to_frame, column_to_array
from overparam.store.parts import MemoryPart, Part
from overparam.store.sources import TableLike
from overparam.store.weights import COLUMNS, Assembler

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import torch


class Tables(Mapping[str, "pd.DataFrame"]):
    """Read-only tables by name; `tables["runs"]` is a data frame.

    Nothing is read before it is asked for, and what is read is the caller's to change.

    Where several artifacts stand behind it (a step that was run once per cell), each table is
    theirs one after the other. A column that one of them lacks is missing values there, and a
    column of integers in one and floats in another is floats.

    Every reading method raises `DamagedArtifact` when a file isn't what its manifest says, and
    `KeyError` with the names there are for an unknown table or column.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = tuple(parts)

    @classmethod
    def of(cls, tables: Mapping[str, TableLike], *, cell: Mapping[str, Any] | None = None) -> Self:
        """Tables in memory, for calling a step as a plain function; converted like stored ones.

        Args:
            tables: as for `Store.write`.
            cell: values that become columns, as for `Store.read`.

        Example:
            >>> import pandas as pd
            >>> Tables.of({"runs": pd.DataFrame({"loss": [0.5, 0.25]})})["runs"]["loss"].sum()
            np.float64(0.75)
        """
        return cls([MemoryPart(tables, cell)])

    @classmethod
    def concat(cls, several: Iterable["Tables"]) -> Self:
        """The tables of all, one after the other in the order given."""
        return cls([part for tables in several for part in tables._parts])

    @property
    def names(self) -> tuple[str, ...]:
        """The tables' names, in the order written."""
        return tuple(dict.fromkeys(name for part in self._parts for name in part.names))

    def __getitem__(self, name: str) -> "pd.DataFrame":
        return arrow_to_frame(self.arrow(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __repr__(self) -> str:
        shown = (f"{name}: {sum(p.rows(name) for p in self._having(name))} rows" for name in self)
        return f"Tables({', '.join(shown)})"

    def only(self) -> "pd.DataFrame":
        """The sole table.

        Raises:
            ValueError: there are several, or none.
        """
        if len(self) != 1:
            raise ValueError(
                f"there are {len(self)} tables ({', '.join(self)}), not one: say which"
            )
        return self[self.names[0]]

    def columns(self, name: str) -> tuple[str, ...]:
        """The columns of a table."""
        parts = self._having(name)
        return tuple(dict.fromkeys(column for part in parts for column in part.columns(name)))

    def arrow(self, name: str, columns: Sequence[str] | None = None) -> "pa.Table":
        """The table, or some of its columns, as an Arrow table."""
        self._check_columns(name, columns or ())
        return _concatenated(name, [part.arrow(name, columns) for part in self._having(name)])

    def batches(self, name: str) -> "Iterator[pa.RecordBatch]":
        """The table in record batches of a megabyte or some, at least one: for large tables."""
        import pyarrow as pa

        parts = self._having(name)
        empty = _concatenated(name, [part.schema(name).empty_table() for part in parts])
        rows = 0
        for part in parts:
            for batch in part.batches(name):
                rows += batch.num_rows
                if len(parts) == 1:
                    yield batch
                else:
                    yield from _concatenated(name, [_table(batch), empty]).to_batches()
        if not rows:
            columns = [column.combine_chunks() for column in empty.columns]
            yield pa.RecordBatch.from_arrays(columns, schema=empty.schema)

    def array(self, name: str, column: str) -> "np.ndarray":
        """One column as a writable array.

        It is (N, ...) for tensors and lists of one length, (N,) for numbers (NaN if missing).

        Raises:
            ValueError: lists of unequal length.
        """
        try:
            return column_to_array(self.arrow(name, [column]).column(column))
        except ValueError as error:
            raise ValueError(f"table {name!r}, column {column!r}: {error}") from None

    def weights(self, name: str, **cell: str | int | float | bool) -> "dict[str, torch.Tensor]":
        """One model's tensors, bit for bit, on the CPU; only blocks that may hold it are read.

        Args:
            name: a table written from `Weights`.
            cell: values of its cell columns, as many as needed to tell its models apart.

        Raises:
            ValueError: no model, or more than one, has these values; the table doesn't hold
                weights; no such cell column.
        """
        allowed = [column for column in self.columns(name) if column not in COLUMNS]
        if not set(COLUMNS) <= set(self.columns(name)):
            raise ValueError(
                f"table {name!r} doesn't hold weights: its columns are {', '.join(allowed)}"
            )
        for column in cell:
            if column not in allowed:
                raise ValueError(
                    f"table {name!r} has no cell column {column!r}; it has "
                    f"{', '.join(allowed) or 'none'}"
                )
        model = Assembler(name)
        for part in self._having(name):
            for batch in part.batches(name, where=cell):
                model.add(batch)
        if cell and not model.rows:
            found = self.arrow(name, allowed).to_pandas().drop_duplicates().to_dict("records")
            raise ValueError(f"table {name!r} has no model with {cell}; there are {found[:10]}")
        return model.state()

    def _having(self, name: str) -> list[Part]:
        parts = [part for part in self._parts if name in part.names]
        if not parts:
            raise KeyError(f"no table {name!r}; there are {', '.join(self.names) or 'none'}")
        return parts

    def _check_columns(self, name: str, columns: Sequence[str]) -> None:
        known = self.columns(name)
        for column in columns:
            if column not in known:
                raise KeyError(
                    f"table {name!r} has no column {column!r}; it has {', '.join(known)}"
                )


def _table(batch: "pa.RecordBatch") -> "pa.Table":
    import pyarrow as pa

    return pa.Table.from_batches([batch])


def _concatenated(name: str, tables: "list[pa.Table]") -> "pa.Table":
    import pyarrow as pa

    if len(tables) == 1:
        return tables[0]
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise ValueError(
            f"table {name!r}: the parts that its cells wrote don't fit together: {error}"
        ) from None
