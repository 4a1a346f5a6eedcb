"""What the columns of the user's Parquet file are: the label, and features or one tensor column."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

LABEL_NAMES = ("label", "target", "class", "y")
BUFFER_BYTES = 1 << 16


@dataclass(frozen=True)
class Layout:
    """What the columns are.

    Attributes:
        label: the label's column.
        features: numeric columns, or the one tensor column.
        shape: of one input.
        tensor: whether the inputs are one tensor column.
        whole: whether that column holds whole numbers.
    """

    label: str
    features: tuple[str, ...]
    shape: tuple[int, ...]
    tensor: bool
    whole: bool

    @property
    def numbers(self) -> int:
        """How many make an input."""
        return math.prod(self.shape)


def open_parquet(file: Path, metadata: pq.FileMetaData | None = None) -> pq.ParquetFile:
    """Open a file for reading in pieces.

    Args:
        file: the file.
        metadata: its own, where they have been read before: of a wide file they are large.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no Parquet file, has no rows, or two columns of one name.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    try:
        # Unbuffered, or buffered ahead, a whole row group would be held: often all of the file.
        opened = pq.ParquetFile(file, metadata=metadata, buffer_size=BUFFER_BYTES, pre_buffer=False)
        names = opened.schema_arrow.names
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is no Parquet file: {error}") from error
    if not opened.metadata.num_rows:
        raise ValueError(f"{file} has no rows; allowed: at least 10")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{file}: more than one column is named {', '.join(map(repr, twice[:5]))}")
    return opened


def read_pieces(
    file: Path, columns: Sequence[str], rows: int, metadata: pq.FileMetaData | None = None
) -> Iterator[pa.Table]:
    """Some columns of a file, so many rows at a time.

    Args:
        file: the file.
        columns: their names.
        rows: at a time.
        metadata: as for :func:`open_parquet`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged.
    """
    opened = open_parquet(file, metadata)
    found, expected = 0, opened.metadata.num_rows
    try:
        # Threads would decode several columns at once and keep what they used.
        for batch in opened.iter_batches(batch_size=rows, columns=list(columns), use_threads=False):
            batch.validate(full=True)
            found += batch.num_rows
            if found > expected:
                break
            yield pa.Table.from_batches([batch])
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    if found != expected:
        raise ValueError(
            f"{file} is damaged: {', '.join(map(repr, columns[:5]))} of {found} rows; expected "
            f"{expected}"
        )


def read_layout(
    file: Path, schema: pa.Schema, label: str | None, shape: tuple[int, ...] | None
) -> Layout:
    """Tell the label from the inputs.

    Args:
        file: for its first row, where a column of lists does not say their length; and messages.
        schema: its columns.
        label: the label's column; left out, the only one called label, target, class or y, else the
            only one that holds no numbers, else the only one beside a tensor column.
        shape: of an input; left out, what the tensor column says.

    Raises:
        ValueError: names the columns, and what is allowed.
    """
    tensors = [field.name for field in schema if _is_list(field.type)]
    label = _label_column(file, schema, tensors, label)
    others = [name for name in schema.names if name != label]
    if not others:
        raise ValueError(f"{file}: there is no column beside the label {label!r}")
    if shape is not None and (not shape or min(shape) < 1):
        raise ValueError(f"shape is {shape}; allowed: sizes >= 1")
    if not set(others) & set(tensors):
        return _features(file, schema, label, others, shape)
    if len(others) > 1:
        raise ValueError(
            f"{file}: beside the label {label!r} there are {', '.join(others)}; allowed: one "
            "column of lists, or numeric columns"
        )
    return _tensor(file, schema.field(others[0]), label, shape)


def _features(
    file: Path, schema: pa.Schema, label: str, names: list[str], shape: tuple[int, ...] | None
) -> Layout:
    odd = [f"{n!r} ({schema.field(n).type})" for n in names if not _is_number(schema, n)]
    if odd:
        raise ValueError(
            f"{file}: columns {', '.join(odd[:5])} are not numbers; allowed: numeric features, "
            "or one column of lists of one length"
        )
    if shape is not None and math.prod(shape) != len(names):
        raise ValueError(
            f"shape is {shape}, of {math.prod(shape)} numbers; {file} has {len(names)} features"
        )
    return Layout(label, tuple(names), shape or (len(names),), tensor=False, whole=False)


def _tensor(file: Path, field: pa.Field, label: str, shape: tuple[int, ...] | None) -> Layout:
    kind = field.type.value_type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise ValueError(
            f"{file}: column {field.name!r} holds lists of {kind}; allowed: lists of numbers"
        )
    size, known = _tensor_shape(file, field)
    found = tuple(shape or known or (size,))
    if math.prod(found) != size or not size:
        raise ValueError(
            f"shape is {found}, of {math.prod(found)} numbers; column {field.name!r} of "
            f"{file} has {size} in a row"
        )
    return Layout(label, (field.name,), found, tensor=True, whole=pa.types.is_integer(kind))


def _tensor_shape(file: Path, field: pa.Field) -> tuple[int, tuple[int, ...] | None]:
    """Numbers in a row, and the shape that the file gives them."""
    kind = field.type
    if isinstance(kind, pa.FixedShapeTensorType):
        return math.prod(kind.shape), tuple(kind.shape)
    if pa.types.is_fixed_size_list(kind):
        size = kind.list_size
    else:
        first = next(read_pieces(file, [field.name], 1))
        size = len(first.column(0)[0].as_py() or ())
    given = (field.metadata or {}).get(b"shape")
    if given is None:
        return size, None
    try:
        return size, tuple(int(side) for side in json.loads(given))
    except (ValueError, TypeError):
        raise ValueError(
            f"{file}: the metadata of column {field.name!r} give the shape {given.decode()!r}; "
            "allowed: a list such as [1, 28, 28]"
        ) from None


def _label_column(file: Path, schema: pa.Schema, tensors: list[str], label: str | None) -> str:
    names = schema.names
    if label is not None:
        if label not in names:
            raise ValueError(f"{file} has no column {label!r}; it has {', '.join(names)}")
        return label
    called = [name for name in names if name.lower() in LABEL_NAMES]
    wordy = [n for n in names if n not in tensors and not _is_number(schema, n)]
    beside = [name for name in names if name not in tensors] if len(tensors) == 1 else []
    for candidates in (called, wordy, beside):
        if len(candidates) == 1:
            return candidates[0]
    raise ValueError(
        f"{file}: which column is the label? Say --label (label= in Python); "
        f"there are {', '.join(names)}"
    )


def _is_list(kind: pa.DataType) -> bool:
    return (
        isinstance(kind, pa.FixedShapeTensorType)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
    )


def _is_number(schema: pa.Schema, name: str) -> bool:
    kind = schema.field(name).type
    return (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    )
