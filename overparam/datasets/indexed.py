"""Samples that know their position, for methods that remember something per sample."""

from collections.abc import Sized
from typing import Any

from torch.utils.data import Dataset


class IndexedDataset(Dataset[tuple[Any, ...]]):
    """Wraps a map-style dataset: ``self[i]`` is ``(*dataset[i], i)``, in whatever order it is read.

    Raises:
        TypeError: the dataset has no length, so its samples have no positions.

    Example:
        >>> IndexedDataset([("a", 0), ("b", 1)])[1]
        ('b', 1, 1)
    """

    def __init__(self, dataset: Any) -> None:
        if not isinstance(dataset, Sized) or not hasattr(dataset, "__getitem__"):
            raise TypeError(
                f"dataset is a {type(dataset).__name__}; allowed: map-style datasets, which have "
                "__len__ and __getitem__"
            )
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        if not 0 <= index < len(self):
            raise IndexError(f"index {index}; allowed 0..{len(self) - 1}")
        return (*self.dataset[index], index)
