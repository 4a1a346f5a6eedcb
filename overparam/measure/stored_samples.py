"""Samples in a folder of small files: how a measuring process gets them, in bounded memory."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from overparam.datasets import Batches, Inputs
from overparam.datasets.batches import each_part, parts_of

ROWS = 1024
INDEX, TARGET = "index.json", "target"


def store_samples(data: Batches, folder: Path, *, rows: int = ROWS) -> None:
    """Write samples, batch by batch, for :class:`StoredSamples`.

    Args:
        data: in its order.
        folder: made if missing.
        rows: samples per file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrangement, names, sizes = "tensor", [], []
    for number, (inputs, targets) in enumerate(data.batches(rows)):
        parts = parts_of(inputs)
        names = list(inputs) if isinstance(inputs, dict) else [str(i) for i in range(len(parts))]
        arrangement = (
            "dict"
            if isinstance(inputs, dict)
            else "tuple"
            if isinstance(inputs, tuple)
            else "tensor"
        )
        sizes.append(len(targets))
        tensors = {f"input.{n}": p for n, p in zip(names, parts, strict=True)} | {TARGET: targets}
        save_file(
            {name: tensor.contiguous().clone() for name, tensor in tensors.items()},
            folder / f"{number}.safetensors",
        )
    index = {"arrangement": arrangement, "names": names, "sizes": sizes}
    (folder / INDEX).write_text(json.dumps(index))


class StoredSamples:
    """Samples that :func:`store_samples` wrote; see :class:`overparam.datasets.Batches`."""

    def __init__(self, folder: Path) -> None:
        index = json.loads((folder / INDEX).read_text())
        self.folder = folder
        self.arrangement: str = index["arrangement"]
        self.names: list[str] = index["names"]
        self.sizes: list[int] = index["sizes"]

    def __len__(self) -> int:
        return sum(self.sizes)

    def batches(self, size: int, *, seed: int | None = None) -> Iterator[tuple[Inputs, Tensor]]:
        """In their order, at most ``size`` at a time.

        Raises:
            ValueError: size < 1, or a seed: these samples are not shuffled.
        """
        if size < 1 or seed is not None:
            raise ValueError(f"size is {size}, seed {seed}; allowed: size >= 1 and no seed")
        for number in range(len(self.sizes)):
            inputs, targets = self._file(number)
            for start in range(0, len(targets), size):
                rows = slice(start, start + size)
                yield each_part(inputs, lambda part, rows=rows: part[rows]), targets[rows]  # type: ignore[misc]

    def take(self, n: int) -> tuple[Inputs, Tensor]:
        """The first n, or all if there are fewer."""
        found = []
        for number in range(len(self.sizes)):
            found.append(self._file(number))
            if sum(len(targets) for _, targets in found) >= n:
                break
        by_part = zip(*(parts_of(inputs) for inputs, _ in found), strict=True)
        parts = [torch.cat(part)[:n] for part in by_part]
        return self._arranged(parts), torch.cat([targets for _, targets in found])[:n]

    def _file(self, number: int) -> tuple[Inputs, Tensor]:
        tensors = load_file(self.folder / f"{number}.safetensors")
        return self._arranged([tensors[f"input.{name}"] for name in self.names]), tensors[TARGET]

    def _arranged(self, parts: list[Tensor]) -> Inputs:
        if self.arrangement == "dict":
            return dict(zip(self.names, parts, strict=True))
        return tuple(parts) if self.arrangement == "tuple" else parts[0]
