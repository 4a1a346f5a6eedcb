"""Model weights as a table: bit-exact, streamed in both directions, in bounded memory.

One row holds a piece of at most `ROW_BYTES` of one tensor: the cell's columns, `tensor`, `dtype`,
`shape`, `offset` (in bytes, row-major) and `values`. Rows of at most `BLOCK_BYTES` of one model
make a block (a row group of the file), the most that is held in memory besides the model itself.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from overparam.store.names import check_tensor_name

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import torch

Cell = Mapping[str, str | int | float | bool]

BLOCK_BYTES = 4 << 20
ROW_BYTES = 512 << 10
COLUMNS = ("tensor", "dtype", "shape", "offset", "values")
DTYPES = (
    "float64",
    "float32",
    "float16",
    "bfloat16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "bool",
)


class Weights:
    """The tensors of one model, or of several that a cell tells apart, as a table to return.

    Args:
        state: name to tensor, as `module.state_dict()` gives it. The tensors are read when the
            table is written: don't change them before.

    Raises:
        StoreNameError: a tensor's name (1 to 300 characters without NUL).
        TypeError: an entry that is not a dense tensor of one of `DTYPES`, by name.

    Example:
        >>> import torch
        >>> from overparam.store import Tables
        >>> tables = Tables.of({"net": Weights({"bias": torch.ones(2)})})
        >>> tables.weights("net")
        {'bias': tensor([1., 1.])}
    """

    def __init__(self, state: Mapping[str, "torch.Tensor"]) -> None:
        self._members: Iterable[tuple[Cell, Mapping[str, torch.Tensor]]] = [_checked(({}, state))]
        self._cell: Cell = {}
        self._spent = False

    @classmethod
    def stack(cls, members: Iterable[tuple[Cell, Mapping[str, "torch.Tensor"]]]) -> Self:
        """Several models in one table; an iterator is run one model at a time.

        Args:
            members: pairs of a cell (column name to str, int, float or bool; the same names and
                types in all) and a state dict.

        Raises:
            ValueError: no model, cells that differ in names or types, or a cell named like one of
                `COLUMNS`.
            TypeError, StoreNameError: see the class; at once for a sequence, when it is reached
                for an iterator.
        """
        again = isinstance(members, Sequence)
        rest = iter([_checked(member) for member in members] if again else members)
        first = next(rest, None)
        if first is None:
            raise ValueError("members is empty: give at least one pair of a cell and a state dict")
        weights = cls({})
        weights._cell = _checked(first)[0]
        weights._members = members if again else map(_checked, chain([first], rest))
        return weights

    @classmethod
    def by_seed(cls, seeds: Sequence[int], states: Iterable[Mapping[str, "torch.Tensor"]]) -> Self:
        """The models of several seeds, with a column ``seed``: :meth:`stack` of an ensemble.

        Args:
            seeds: one per model.
            states: their state dicts.

        Raises:
            ValueError: no model, or not as many seeds as models.
        """
        return cls.stack(
            [({"seed": seed}, state) for seed, state in zip(seeds, states, strict=True)]
        )

    @property
    def schema(self) -> "pa.Schema":
        """The table's columns."""
        import pyarrow as pa

        fields = [pa.field(name, pa.scalar(value).type) for name, value in self._cell.items()]
        fields += [
            pa.field("tensor", pa.string()),
            pa.field("dtype", pa.string()),
            pa.field("shape", pa.list_(pa.int64())),
            pa.field("offset", pa.int64()),
            pa.field("values", pa.large_binary()),
        ]
        return pa.schema(fields, metadata={b"overparam.kind": b"weights"})

    def batches(self) -> "Iterator[pa.RecordBatch]":
        """The blocks. A block's values are the tensor's own memory where they can be.

        Raises:
            ValueError: a member's cell differs from the first one's in names or types; an iterator
                is read twice.
        """
        if self._spent:
            raise ValueError(
                "these weights came from an iterator and were written already: give a list to "
                "write twice"
            )
        self._spent = not isinstance(self._members, Sequence)
        schema = self.schema
        kinds = {name: type(value) for name, value in self._cell.items()}
        for cell, state in self._members:
            found = {name: type(value) for name, value in cell.items()}
            if found != kinds:
                raise ValueError(
                    f"cell {dict(cell)} differs in names or types from the first one, "
                    f"{dict(self._cell)}"
                )
            for block in _blocks(state):
                yield _batch(schema, cell, block)


class _Piece(NamedTuple):
    tensor: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    values: "np.ndarray"


def _checked(
    member: tuple[Cell, Mapping[str, "torch.Tensor"]],
) -> tuple[Cell, Mapping[str, "torch.Tensor"]]:
    import torch

    cell, state = member
    for name, value in cell.items():
        if name in COLUMNS or not isinstance(name, str) or not name or "\0" in name:
            raise ValueError(
                f"cell name {name!r} is not allowed: a non-empty string other than "
                f"{', '.join(COLUMNS)}"
            )
        if not isinstance(value, str | int | float | bool):
            raise ValueError(
                f"cell {name!r} is a {type(value).__name__}, allowed are str, int, float and bool"
            )
    for name, tensor in state.items():
        check_tensor_name(name)
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(
                f"weights {name!r} is a {type(tensor).__name__}, allowed is torch.Tensor"
            )
        if (
            tensor.layout != torch.strided
            or tensor.is_meta
            or tensor.is_quantized
            or _dtype(tensor) not in DTYPES
        ):
            raise TypeError(
                f"weights {name!r} is a {tensor.layout} tensor of {tensor.dtype} on "
                f"{tensor.device}; allowed are dense "
                f"tensors with values, of {', '.join(DTYPES)}"
            )
    return member


def _dtype(tensor: "torch.Tensor") -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _blocks(state: Mapping[str, "torch.Tensor"]) -> Iterator[list[_Piece]]:
    """Pieces to be written together: one of a large tensor, or small ones up to `ROW_BYTES`."""
    waiting: list[_Piece] = []
    size = 0
    for name, tensor in state.items():
        offset = 0
        for values in _slices(tensor.detach().resolve_neg()):
            if waiting and size + len(values) > ROW_BYTES:
                yield waiting
                waiting, size = [], 0
            waiting.append(_Piece(name, _dtype(tensor), tuple(tensor.shape), offset, values))
            offset += len(values)
            size += len(values)
    if waiting:
        yield waiting


def _slices(tensor: "torch.Tensor") -> Iterator["np.ndarray"]:
    """The bytes of a tensor, row-major: views of up to a block, or copies of up to a row."""
    import torch

    limit = BLOCK_BYTES if tensor.device.type == "cpu" else ROW_BYTES
    if tensor.is_contiguous():
        flat = tensor.view(-1)
        step = limit // tensor.element_size()
        for start in range(0, max(1, len(flat)), step):
            yield flat[start : start + step].cpu().view(torch.uint8).numpy()
    elif tensor.nbytes <= ROW_BYTES:
        yield from _slices(tensor.contiguous())
    elif len(tensor) == 1:
        yield from _slices(tensor[0])
    else:
        step = max(1, ROW_BYTES // tensor[0].nbytes)
        for start in range(0, len(tensor), step):
            yield from _slices(tensor[start : start + step])


def _batch(schema: "pa.Schema", cell: Cell, pieces: list[_Piece]) -> "pa.RecordBatch":
    import numpy as np
    import pyarrow as pa

    rows = [
        (piece, start, min(start + ROW_BYTES, len(piece.values)))
        for piece in pieces
        for start in range(0, max(1, len(piece.values)), ROW_BYTES)
    ]
    values = (
        pieces[0].values if len(pieces) == 1 else np.concatenate([piece.values for piece in pieces])
    )
    ends = np.cumsum([0] + [stop - start for _, start, stop in rows], dtype=np.int64)
    arrays = [pa.array([value] * len(rows)) for value in cell.values()]
    arrays += [
        pa.array([piece.tensor for piece, _, _ in rows]),
        pa.array([piece.dtype for piece, _, _ in rows]),
        pa.array([list(piece.shape) for piece, _, _ in rows], pa.list_(pa.int64())),
        pa.array([piece.offset + start for piece, start, _ in rows], pa.int64()),
        pa.Array.from_buffers(
            pa.large_binary(),
            len(rows),
            [None, pa.py_buffer(ends), pa.py_buffer(values)],
        ),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


class Assembler:
    """Puts one model together from rows in any order.

    Args:
        name: the table's, for messages.

    Attributes:
        rows: how many were added.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.rows = 0
        self._cell: dict[str, Any] | None = None
        self._tensors: dict[str, torch.Tensor] = {}
        self._missing: dict[str, int] = {}

    def add(self, rows: "pa.RecordBatch") -> None:
        """Copy the rows' values to their places.

        Raises:
            ValueError: rows of a second model, by cell.
        """
        self.rows += rows.num_rows
        for row in range(rows.num_rows):
            record = {
                column: rows.column(column)[row].as_py()
                for column in rows.schema.names
                if column != "values"
            }
            self._place(record, rows.column("values")[row].as_buffer())

    def _place(self, record: dict[str, Any], values: "pa.Buffer") -> None:
        import numpy as np
        import torch

        cell = {column: value for column, value in record.items() if column not in COLUMNS}
        if self._cell is None:
            self._cell = cell
        name = record["tensor"]
        if cell != self._cell or self._missing.get(name, values.size) < values.size:
            raise ValueError(
                f"table {self._name!r} has more than one model: {self._cell} and {cell}. Say "
                f"which, as in "
                f"weights({self._name!r}, "
                f"{', '.join(f'{k}={v!r}' for k, v in cell.items()) or 'seed=0'})"
            )
        if name not in self._tensors:
            if record["dtype"] not in DTYPES:
                raise ValueError(
                    f"table {self._name!r}: tensor {name!r} has type {record['dtype']!r}"
                )
            dtype = getattr(torch, record["dtype"])
            self._tensors[name] = torch.empty(record["shape"], dtype=dtype)
            self._missing[name] = self._tensors[name].nbytes
        if values.size:
            target = self._tensors[name].view(-1).view(torch.uint8).numpy()
            start = record["offset"]
            target[start : start + values.size] = np.frombuffer(values, np.uint8)
            self._missing[name] -= values.size

    def state(self) -> dict[str, "torch.Tensor"]:
        """The model's tensors.

        Raises:
            ValueError: rows are missing.
        """
        holes = [name for name, missing in self._missing.items() if missing]
        if holes:
            raise ValueError(
                f"table {self._name!r}: values of {', '.join(map(repr, holes[:3]))} are missing"
            )
        return self._tensors
