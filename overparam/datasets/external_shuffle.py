"""Rows in random order without holding them all: scatter to files, shuffle each, read back."""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[np.generic]]
Chunk = tuple[dict[str, NDArray[np.generic]], NDArray[np.generic]]
"""Columns of some rows, and the part (0, 1, ...) that each row belongs to."""

SHARD_BYTES = 8 << 20
"""What is held in memory at once when a part is read back, for data of up to SHARDS times that."""

SHARDS = 512
"""Most files of a part; each chunk of rows is appended to all of them."""


@dataclass
class ShuffledParts:
    """Parts of a data set on disk, each in a random order; the files go with this object."""

    folder: tempfile.TemporaryDirectory[str]
    row: np.dtype[np.void]
    shards: int
    seed: int

    def read(self, part: int, most: int) -> Iterator[dict[str, NDArray[np.generic]]]:
        """The rows of a part, at most so many at a time; in the same order in every call."""
        rng = Generator(Philox(key=[self.seed, 1 + part]))
        for shard in rng.permutation(self.shards):
            rows = np.fromfile(_file(self.folder.name, part, int(shard)), dtype=self.row)
            order = rng.permutation(len(rows))
            for start in range(0, len(rows), most):
                piece = rows[order[start : start + most]]
                yield {name: np.ascontiguousarray(piece[name]) for name in self.row.names or ()}


def shuffled_parts(chunks: Iterator[Chunk], parts: int, total: int, seed: int) -> ShuffledParts:
    """Scatter rows into shards of about :data:`SHARD_BYTES`, at random.

    Each row goes to a random shard, and each shard is shuffled when it is read: every order of a
    part is as likely as any other, whatever the order of the source. Memory holds a chunk and a
    shard.

    Args:
        chunks: columns (rows, ...) of one shape and dtype throughout, and the part of each row;
            a negative part leaves a row out.
        parts: how many there are.
        total: rows in all, for the number of shards.
        seed: of the order.

    Raises:
        ValueError: no chunk.
    """
    folder = tempfile.TemporaryDirectory(prefix="overparam-rows-")
    rng = Generator(Philox(key=[seed, 0]))
    row, shards = None, 1
    for columns, part_of in chunks:
        if row is None:
            row = np.dtype([(n, column.dtype, column.shape[1:]) for n, column in columns.items()])
            shards = min(SHARDS, -(-total * row.itemsize // SHARD_BYTES))
            for part in range(parts):
                for shard in range(shards):
                    _file(folder.name, part, shard).touch()
        place = np.asarray(part_of, dtype=np.int64) * shards
        place += rng.integers(shards, size=len(place))
        order = np.argsort(place, kind="stable")
        order = order[np.searchsorted(place[order], 0) :]
        rows = np.empty(len(order), dtype=row)
        for name, column in columns.items():
            rows[name] = column[order]
        files, starts = np.unique(place[order], return_index=True)
        for index, some in zip(files.tolist(), np.split(rows, starts[1:]), strict=True):
            with _file(folder.name, *divmod(index, shards)).open("ab") as stream:
                some.tofile(stream)
    if row is None:
        raise ValueError("there are no rows to shuffle")
    return ShuffledParts(folder, row, shards, seed)


def _file(folder: str, part: int, shard: int) -> Path:
    return Path(folder) / f"{part}-{shard}"
