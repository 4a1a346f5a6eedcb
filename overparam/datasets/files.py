"""The user's own files: tables and named arrays, read by suffix, nothing unpickled."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load_file

Array = NDArray[Any]


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table: ``.parquet``, ``.csv``, ``.jsonl`` (one JSON object a line).

    Args:
        path: the file.

    Returns:
        The whole table.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another suffix, a file that is not of the kind its suffix says, or no rows.
    """
    file = _existing(path, TABLES)
    table: pd.DataFrame = _read(file, TABLES)
    if table.empty:
        raise ValueError(f"{file}: the table has no rows; allowed: at least one")
    return table


def read_arrays(path: str | Path) -> dict[str, Array]:
    """Read named arrays: ``.npz``, ``.npy`` (its array is named after the file), ``.safetensors``.

    Arrays of Python objects are refused: they could only be unpickled.

    Args:
        path: the file.

    Returns:
        Arrays by name, in the file's order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another suffix, or a file that is damaged or holds objects.
    """
    file = _existing(path, ARRAYS)
    found: dict[str, Array] = _read(file, ARRAYS)
    return found


def _read_npz(file: Path) -> dict[str, Array]:
    with file.open("rb") as stream:
        if stream.read(4) not in (b"PK\x03\x04", b"PK\x05\x06"):
            raise ValueError("not a zip archive of arrays")
    with np.load(file, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _read_npy(file: Path) -> dict[str, Array]:
    with file.open("rb") as stream:
        return {file.stem: np.lib.format.read_array(stream, allow_pickle=False)}


def _read_jsonl(file: Path) -> pd.DataFrame:
    rows = []
    with file.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number}: {error}") from error
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is not a JSON object")
            rows.append(row)
    return pd.DataFrame(rows)


TABLES: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".parquet": pd.read_parquet,
    ".csv": pd.read_csv,
    ".jsonl": _read_jsonl,
}
ARRAYS: dict[str, Callable[[Path], dict[str, Array]]] = {
    ".npz": _read_npz,
    ".npy": _read_npy,
    ".safetensors": load_file,
}


def _existing(path: str | Path, readers: dict[str, Any]) -> Path:
    file = Path(path)
    if file.suffix.lower() not in readers:
        raise ValueError(f"{file}: suffix {file.suffix!r}; allowed: {', '.join(readers)}")
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    return file


def _read(file: Path, readers: dict[str, Any]) -> Any:
    suffix = file.suffix.lower()
    try:
        return readers[suffix](file)
    except Exception as error:  # of a damaged file: of zlib, struct, tokenize, ..., as it happens
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{file}: can't be read as {suffix}: {reason}") from error
