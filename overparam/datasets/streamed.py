"""Samples of a stored table, read batch by batch: memory holds a window, not the data."""

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from overparam.datasets.batches import InMemory, Inputs
from overparam.store import Tables

WINDOW = 16_384
"""Rows that are shuffled together. The stored order is random already, so that a window is a random
sample of the data; shuffling anew gives each epoch other batches."""

WINDOW_BYTES = 16 << 20
"""Most that a window may hold, unless a single batch is larger."""


class Streamed:
    """Samples of a table in a random order.

    Args:
        tables: a step's.
        name: of the table.
        arrange: rows of the table to inputs and targets.
        length: rows of the table.
        bytes_of_row: of inputs and targets.
    """

    def __init__(
        self,
        tables: Tables,
        name: str,
        arrange: Callable[[pa.Table], tuple[Inputs, Tensor]],
        length: int,
        bytes_of_row: int,
    ) -> None:
        self._tables = tables
        self._name = name
        self._arrange = arrange
        self._length = length
        self._window = max(1, min(WINDOW, WINDOW_BYTES // max(1, bytes_of_row)))

    def __len__(self) -> int:
        return self._length

    def batches(self, size: int, *, seed: int | None = None) -> Iterator[tuple[Inputs, Tensor]]:
        """See :class:`overparam.datasets.Batches`; shuffled in windows of :data:`WINDOW` rows."""
        if size < 1:
            raise ValueError(f"size is {size}; allowed >= 1")
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        for window in self._windows(max(size, self._window // size * size)):
            own = None
            if generator is not None:
                own = int(torch.randint(2**62, (), generator=generator))
            yield from InMemory(*self._arrange(window)).batches(size, seed=own)

    def take(self, n: int) -> tuple[Inputs, Tensor]:
        """See :class:`overparam.datasets.Batches`."""
        return self._arrange(next(self._windows(max(n, 1))).slice(0, n))

    def _windows(self, rows: int) -> Iterator[pa.Table]:
        """The table in pieces of so many rows, the last one smaller."""
        held: list[pa.Table] = []
        count = 0
        for batch in self._tables.batches(self._name):
            held.append(pa.Table.from_batches([batch]))
            count += batch.num_rows
            while count >= rows:
                joined = pa.concat_tables(held)
                yield joined.slice(0, rows)
                held, count = [joined.slice(rows)], count - rows
        if count:
            yield pa.concat_tables(held)


def as_tensor(array: np.ndarray) -> Tensor:
    """A tensor on a writable copy of an array."""
    return torch.from_numpy(np.ascontiguousarray(array))
