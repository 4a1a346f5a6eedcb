"""The user's samples for a model of their own: read, checked, split, prepared, as tables.

A Parquet file (:mod:`overparam.datasets.parquet_source`) or a callable that returns data sets
(:mod:`overparam.datasets.callable_source`) becomes three tables in random order, ``train``,
``validation`` and ``test``, and a table ``schema`` that says how to read them.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from torch import Tensor

from overparam.datasets.batches import Batches, InMemory, Inputs
from overparam.datasets.chunk_rows import chunk_rows
from overparam.datasets.external_shuffle import Chunk, ShuffledParts, shuffled_parts
from overparam.datasets.streamed import Streamed, as_tensor
from overparam.store import TableLike, Tables, tensor_column
from overparam.store.columns import column_to_array

PARTS = ("train", "validation", "test")
TARGET = "target"
IN_MEMORY_BYTES = 16 << 20
"""A part of at most this many bytes is read once and kept; a larger one is streamed."""

Arrangement = Literal["tensor", "tuple", "dict"]


@dataclass(frozen=True)
class OwnSamples:
    """Checked samples, not yet read in full.

    Attributes:
        kind: ``classification`` or ``regression``.
        classes: names in the order of the labels.
        arrangement: whether a model is called with a tensor, a tuple or a dict.
        inputs: names of the input columns; of a dict, its keys.
        sizes: rows of train, validation and test.
        chunks: reads the prepared rows: columns (the inputs and ``target``) and the part of each.
        preparation: what was done to the inputs, JSON-able: of a Parquet file ``columns``,
            ``shape``, ``standardized``, ``mean`` and ``deviation`` (per column, or one of all
            numbers of a tensor column), ``constant`` columns, ``label``. A new input is prepared
            by ``(x - mean) / deviation`` in float32.
        own_task: whether the callable that gave the samples gives a task, too.
    """

    kind: Literal["classification", "regression"]
    classes: tuple[str, ...]
    arrangement: Arrangement
    inputs: tuple[str, ...]
    sizes: tuple[int, int, int]
    seed: int
    chunks: Callable[[], Iterator[Chunk]]
    preparation: dict[str, Any] = field(default_factory=dict)
    own_task: bool = False

    def first(self, n: int) -> tuple[Inputs, Tensor]:
        """The first n prepared samples of the source, to try a model on."""
        columns, _ = next(self.chunks())
        arrays = [as_tensor(columns[name][:n]) for name in self.inputs]
        return arranged(arrays, self.arrangement, self.inputs), as_tensor(columns[TARGET][:n])

    def tables(self) -> dict[str, TableLike]:
        """``train``, ``validation``, ``test`` (inputs and target, in random order), ``schema``."""
        shuffled = shuffled_parts(self.chunks(), len(PARTS), sum(self.sizes), self.seed)
        bytes_of_row = shuffled.row.itemsize
        facts = {
            "kind": self.kind,
            "classes": list(self.classes),
            "arrangement": self.arrangement,
            "inputs": list(self.inputs),
            "rows": dict(zip(PARTS, self.sizes, strict=True)),
            "bytes_per_row": bytes_of_row,
            "preparation": self.preparation,
            "own_task": self.own_task,
        }
        schema = pd.DataFrame(
            {"field": list(facts), "value": [json.dumps(value) for value in facts.values()]}
        )
        parts = {name: _batches(shuffled, index) for index, name in enumerate(PARTS)}
        return {"schema": schema, **parts}


def read_schema(tables: Tables) -> dict[str, Any]:
    """The facts of the ``schema`` table: see :class:`OwnSamples`."""
    frame = tables["schema"]
    return {
        name: json.loads(value) for name, value in zip(frame["field"], frame["value"], strict=True)
    }


def read_batches(tables: Tables, part: str) -> Batches:
    """One part of stored samples: kept in memory where it is small, else streamed.

    Args:
        tables: of a step that returned :meth:`OwnSamples.tables`.
        part: ``train``, ``validation`` or ``test``.

    Raises:
        ValueError: another part.
    """
    if part not in PARTS:
        raise ValueError(f"part is {part!r}; allowed: {', '.join(PARTS)}")
    schema = read_schema(tables)
    rows = schema["rows"][part]
    names, arrangement = tuple(schema["inputs"]), schema["arrangement"]
    if rows * schema["bytes_per_row"] <= IN_MEMORY_BYTES:
        return InMemory(*_from_arrow(names, arrangement, tables.arrow(part)))
    arrange = partial(_from_arrow, names, arrangement)
    return Streamed(tables, part, arrange, rows, schema["bytes_per_row"])


def arranged(tensors: list[Tensor], arrangement: Arrangement, names: tuple[str, ...]) -> Inputs:
    """Tensors as a model is called with them."""
    if arrangement == "dict":
        return dict(zip(names, tensors, strict=True))
    return tuple(tensors) if arrangement == "tuple" else tensors[0]


def _from_arrow(
    names: tuple[str, ...], arrangement: Arrangement, table: pa.Table
) -> tuple[Inputs, Tensor]:
    tensors = [as_tensor(column_to_array(table.column(_column(name)))) for name in names]
    return arranged(tensors, arrangement, names), as_tensor(column_to_array(table.column(TARGET)))


def _column(name: str) -> str:
    return f"input_{name}"


def _batches(shuffled: ShuffledParts, part: int) -> Iterator[pa.RecordBatch]:
    for columns in shuffled.read(part, chunk_rows(shuffled.row.itemsize)):
        arrays = {
            name if name == TARGET else _column(name): _arrow(column)
            for name, column in columns.items()
        }
        yield pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


def _arrow(array: NDArray[Any]) -> pa.Array:
    return tensor_column(array) if array.ndim > 1 else pa.array(array)
