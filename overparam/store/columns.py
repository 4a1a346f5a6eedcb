"""Data frames to Arrow and back. What a column can't hold exactly is refused by name."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

# A numpy array of one of these kinds has an Arrow type of its own: bool, integers, floats.
_NUMERIC_KINDS = "biuf"


def tensor_column(array: "np.ndarray") -> "pa.ExtensionArray":
    """A column of fixed-shape tensors (images, fields), one per row.

    Args:
        array: (N, ...) of bool, integer or float type, with at least one dimension after the first
            and none of them 0.

    Returns:
        N rows of type `pyarrow.fixed_shape_tensor(value type, shape)`, to be put into a
        `pyarrow.Table`.

    Raises:
        ValueError: another shape or type.

    Example:
        >>> import numpy as np
        >>> tensor_column(np.zeros((5, 28, 28), np.float32)).type.shape
        [28, 28]
    """
    import numpy as np
    import pyarrow as pa

    if array.ndim < 2 or math.prod(array.shape[1:]) == 0:
        raise ValueError(
            f"array has shape {array.shape}: allowed is (N, ...) with one or more dimensions "
            f"after N, none of them 0"
        )
    if array.dtype.kind not in _NUMERIC_KINDS:
        raise ValueError(f"array has type {array.dtype}: allowed are bool, integers and floats")
    shape = array.shape[1:]
    flat = np.ascontiguousarray(array).reshape(-1)
    values = pa.array(flat)
    storage = pa.FixedSizeListArray.from_arrays(values, math.prod(shape))
    return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(values.type, shape), storage)


def frame_to_arrow(table: str, frame: "pd.DataFrame") -> "pa.Table":
    """The frame as an Arrow table. `table` names it in messages.

    Object columns hold either strings, bytes, 1-D lists or arrays of numbers (each with None for a
    missing one), or arrays of two or more dimensions and one shape, which become fixed-shape
    tensors. The index isn't stored.

    Raises:
        ValueError: an index other than a plain range, column names that are not distinct strings,
            or a column with values that a table can't hold; names table and column.
    """
    import pandas as pd
    import pyarrow as pa

    if len(frame) and (not isinstance(frame.index, pd.RangeIndex) or frame.index.name is not None):
        raise ValueError(
            f"table {table!r}: its index would be lost. Call reset_index() to make it a column, "
            f"or reset_index(drop=True)"
        )
    check_column_names(table, list(frame.columns))
    arrays = [_column_to_arrow(table, name, frame[name]) for name in frame.columns]
    plain = frame[[name for name in frame.columns if frame[name].dtype != object]]
    schema = pa.schema(
        [pa.field(name, array.type) for name, array in zip(frame.columns, arrays, strict=True)],
        # what pandas needs to give back its own types, such as integers with missing values
        metadata=pa.Schema.from_pandas(plain, preserve_index=False).metadata,
    )
    return pa.Table.from_arrays(arrays, schema=schema)


def check_column_names(table: str, names: Sequence[Any]) -> None:
    """Check that a table's columns have distinct, non-empty names without NUL.

    Raises:
        ValueError: otherwise, or when there is no column at all.
    """
    if not names:
        raise ValueError(f"table {table!r} has no columns: give at least one, an empty table too")
    for name in names:
        if not isinstance(name, str) or not name or "\0" in name:
            raise ValueError(
                f"table {table!r}: column name {name!r} is not allowed: a non-empty string "
                f"without NUL"
            )
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(
            f"table {table!r}: more than one column is named {', '.join(map(repr, twice))}"
        )


def _column_to_arrow(table: str, name: str, column: "pd.Series") -> "pa.Array":
    import pyarrow as pa

    where = f"table {table!r}, column {name!r}"
    if column.dtype == object:
        return _objects_to_arrow(where, list(column))
    try:
        array = pa.Array.from_pandas(column)
    except (pa.ArrowException, TypeError) as error:
        raise ValueError(f"{where}: type {column.dtype} can't be stored: {error}") from None
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _objects_to_arrow(where: str, values: list[Any]) -> "pa.Array":
    import numpy as np
    import pyarrow as pa

    present = [value for value in values if not _is_missing(value)]
    cells = [None if _is_missing(value) else value for value in values]
    if not present:
        return pa.nulls(len(values))
    if all(isinstance(value, str) for value in present):
        return pa.array(cells, pa.large_string())
    if all(isinstance(value, bytes) for value in present):
        return pa.array(cells, pa.large_binary())
    if all(isinstance(value, np.ndarray) and value.ndim > 1 for value in present):
        shapes = {value.shape for value in present}
        types = {value.dtype for value in present}
        if len(shapes) > 1 or len(types) > 1 or len(present) < len(values):
            raise ValueError(
                f"{where}: arrays of two or more dimensions need one shape and type and no gaps, "
                f"not "
                f"{sorted(shapes)[:3]}, {sorted(map(str, types))[:3]}, "
                f"{len(values) - len(present)} missing"
            )
        try:
            return tensor_column(np.stack(present))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    if all(isinstance(value, list | tuple | np.ndarray) for value in present):
        rows = [None if value is None else _numbers(where, value) for value in cells]
        common = np.result_type(*[row.dtype for row in rows if row is not None])
        return pa.array(rows, pa.list_(pa.from_numpy_dtype(common)))
    kinds = ", ".join(sorted({type(value).__name__ for value in present})[:4])
    raise ValueError(
        f"{where}: holds Python objects of type {kinds}. Allowed are str, bytes, lists of numbers "
        f"or arrays of one "
        "shape, each with None for a missing one; for numbers or truth values give the column "
        "such a type (astype)"
    )


def _is_missing(value: Any) -> bool:
    import pandas as pd

    return value is None or value is pd.NA or (isinstance(value, float) and value != value)


def _numbers(where: str, value: Any) -> "np.ndarray":
    import numpy as np

    try:
        array = np.asarray(value)
    except ValueError:  # rows of unequal length
        array = np.asarray(value, dtype=object)
    if array.ndim == 1 and array.size == 0 and not isinstance(value, np.ndarray):
        array = array.astype(np.bool_)  # the type that gives way to any other
    if array.ndim != 1 or array.dtype.kind not in _NUMERIC_KINDS:
        raise ValueError(
            f"{where}: a list of {array.dtype} with {array.ndim} dimensions; allowed are 1-D "
            f"lists of numbers, and arrays "
            "of one shape"
        )
    return array


def is_tensor(kind: "pa.DataType") -> bool:
    """Whether an Arrow type is that of a column of fixed-shape tensors."""
    import pyarrow as pa

    return isinstance(kind, pa.FixedShapeTensorType)


def arrow_to_frame(table: "pa.Table") -> "pd.DataFrame":
    """The table as a data frame; a tensor column becomes an object column of arrays."""
    import pandas as pd

    tensors = {field.name for field in table.schema if is_tensor(field.type)}
    frame = table.drop_columns(list(tensors)).unify_dictionaries().to_pandas()
    if len(frame.columns) == 0:
        frame = pd.DataFrame(index=pd.RangeIndex(table.num_rows))
    for position, field in enumerate(table.schema):
        if field.name in tensors:
            rows = pd.Series(list(column_to_array(table.column(field.name))), dtype=object)
            frame.insert(position, field.name, rows)
    return frame


def column_to_array(column: "pa.ChunkedArray") -> "np.ndarray":
    """A column as one writable array.

    Tensors give (N, *shape), lists of one length L give (N, L), numbers (N,) with NaN for a
    missing one, and what has no numeric type (N,) objects.

    Raises:
        ValueError: lists of unequal length or with missing ones.
    """
    import numpy as np
    import pyarrow as pa

    kind = column.type
    if is_tensor(kind):
        shape, chunks = tuple(kind.shape), _list_values(column, math.prod(kind.shape))
    elif (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    ):
        lengths = {
            length
            for chunk in column.chunks
            for length in chunk.value_lengths().unique().to_pylist()
        }
        if len(lengths) > 1 or None in lengths:
            raise ValueError(
                f"lists of unequal lengths {sorted(map(str, lengths))[:4]} make no array"
            )
        length = lengths.pop() if lengths else 0
        shape, chunks = (length,), _list_values(column, length)
    else:
        return np.array(column.to_numpy())
    out = None
    start = 0
    for values in chunks:
        if out is None:
            out = np.empty((len(column), *shape), values.dtype)
        rows = values.reshape(-1, *shape) if math.prod(shape) else values.reshape(0, *shape)
        out[start : start + len(rows)] = rows
        start += len(rows)
    return np.empty((len(column), *shape), _value_dtype(kind)) if out is None else out


def _list_values(column: "pa.ChunkedArray", length: int) -> Iterator["np.ndarray"]:
    for chunk in column.chunks:
        storage = getattr(chunk, "storage", chunk)
        if len(storage) and length:
            if storage.null_count:
                raise ValueError(f"{storage.null_count} rows are missing: no array without gaps")
            yield storage.flatten().to_numpy(zero_copy_only=False)


def _value_dtype(kind: "pa.DataType") -> Any:
    storage = getattr(kind, "storage_type", kind)
    return storage.value_type.to_pandas_dtype()
