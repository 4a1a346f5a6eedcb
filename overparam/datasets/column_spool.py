"""Numeric columns of a Parquet file as rows: laid one after the other in a file on disk."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from overparam.datasets.parquet_layout import open_parquet, read_pieces

PIECE_ROWS = 1 << 16
NUMBER = np.dtype(np.float64)


@dataclass(frozen=True)
class ColumnSpool:
    """Columns of float64, one after the other in a file; it goes with this object."""

    folder: tempfile.TemporaryDirectory[str]
    rows: int
    columns: int

    def read(self, rows: int) -> Iterator[NDArray[np.float64]]:
        """All columns as (n, columns), so many rows at a time; the last piece may be smaller."""
        with _file(self.folder).open("rb") as stream:
            for start in range(0, self.rows, rows):
                piece = np.empty((min(rows, self.rows - start), self.columns), NUMBER)
                for place in range(self.columns):
                    stream.seek((place * self.rows + start) * NUMBER.itemsize)
                    piece[:, place] = np.fromfile(stream, NUMBER, len(piece))
                yield piece


def spooled_columns(file: Path, columns: Sequence[str]) -> ColumnSpool:
    """Lay columns of numbers out in a temporary file of 8 bytes per number; missing ones are NaN.

    A reader of Parquet holds a page and a dictionary of each column that it reads, two megabytes
    each as most writers cut them: read together, the columns of a wide file would fill memory
    whatever the number of rows. They are read one by one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged.
    """
    metadata = open_parquet(file).metadata
    folder = tempfile.TemporaryDirectory(prefix="overparam-columns-")
    with _file(folder).open("wb") as stream:
        for name in columns:
            for piece in read_pieces(file, [name], PIECE_ROWS, metadata):
                piece.column(0).cast(pa.float64(), safe=False).to_numpy().tofile(stream)
    return ColumnSpool(folder, metadata.num_rows, len(columns))


def _file(folder: tempfile.TemporaryDirectory[str]) -> Path:
    return Path(folder.name) / "columns"
