"""The user's own labelled data: inputs x and classes y, checked before any use."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from overparam.datasets.containers import Labelled
from overparam.datasets.files import ARRAYS, TABLES, read_arrays, read_table


def read_labelled(path: str | Path, labels: str | Path | None = None) -> Labelled:
    """Read inputs and classes.

    - ``.npz`` and ``.safetensors`` hold ``x`` (N, ...), e.g. (N, C, H, W), and ``y`` (N,);
    - ``.npy`` holds x, and ``labels`` is a second ``.npy`` with y;
    - ``.parquet``, ``.csv`` and ``.jsonl`` have a column ``y``; all other columns are numbers, the
      features.

    Args:
        path: the file with x.
        labels: the file with y, for ``.npy`` alone.

    Returns:
        x floating (as stored), y int64; meta holds file name and SHA-256.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: names the file, what is wrong (x or y missing, dtype, lengths that differ, NaN
            or infinite values and how many, negative classes, fewer than two) and what is allowed.
    """
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix not in ARRAYS and suffix not in TABLES:
        raise ValueError(f"{file}: suffix {suffix!r}; allowed: {', '.join([*ARRAYS, *TABLES])}")
    if (suffix == ".npy") != (labels is not None):
        raise ValueError(
            f"{file}: labels={labels}; a .npy file of inputs needs a second .npy file of labels, "
            "other files hold both"
        )
    if suffix in TABLES:
        x, y = _from_table(file, read_table(file))
    elif labels is not None:
        (x,), (y,) = read_arrays(file).values(), read_arrays(labels).values()
    else:
        x, y = _from_arrays(file, read_arrays(file))
    _check_inputs(file, x)
    _check_labels(Path(labels or file), y, len(x))
    meta = {"source": "user", "file": file.name, "sha256": _sha256(file)}
    if labels is not None:
        meta |= {"labels_file": Path(labels).name, "labels_sha256": _sha256(Path(labels))}
    return Labelled(x=x, y=y.astype(np.int64), meta=meta)


def _from_arrays(file: Path, arrays: dict[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    for name in ("x", "y"):
        if name not in arrays:
            raise ValueError(
                f"{file}: no array {name!r}; it holds {', '.join(arrays) or 'nothing'}; "
                "needed: x (N, ...) floating and y (N,) integer"
            )
    return arrays["x"], arrays["y"]


def _from_table(file: Path, table: pd.DataFrame) -> tuple[NDArray[Any], NDArray[Any]]:
    if "y" not in table.columns or len(table.columns) < 2:
        raise ValueError(
            f"{file}: columns {', '.join(map(str, table.columns))}; needed: y (integer classes) "
            "and at least one numeric column"
        )
    features = table.drop(columns="y")
    for name, column in features.items():
        if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
            raise ValueError(f"{file}: column {name!r} is {column.dtype}; allowed: numbers")
    if table["y"].isna().any():
        raise ValueError(
            f"{file}: y has {int(table['y'].isna().sum())} missing values; allowed: none"
        )
    return features.to_numpy(dtype=np.float64, na_value=np.nan), table["y"].to_numpy()


def _check_inputs(file: Path, x: NDArray[Any]) -> None:
    if not np.issubdtype(x.dtype, np.floating):
        raise ValueError(f"{file}: x is {x.dtype}; allowed: floating (divide pixels by 255 first)")
    if x.ndim < 2 or 0 in x.shape:
        raise ValueError(f"{file}: x has shape {x.shape}; allowed: (N, ...), nothing empty")
    bad = x.size - int(np.isfinite(x).sum())
    if bad:
        raise ValueError(f"{file}: x has {bad} NaN or infinite values of {x.size}; allowed: none")


def _check_labels(file: Path, y: NDArray[Any], n: int) -> None:
    if not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"{file}: y is {y.dtype}; allowed: integer classes from 0 on")
    if y.shape != (n,):
        raise ValueError(f"{file}: y has shape {y.shape} and x has {n} samples; needed: ({n},)")
    if y.min() < 0:
        raise ValueError(f"{file}: y holds the class {y.min()}; allowed: 0 and up")
    if y.min() == y.max():
        raise ValueError(f"{file}: y holds one class, {y.min()}; allowed: at least two")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
