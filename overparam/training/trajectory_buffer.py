"""The table of past outputs of SAF: E + 1 slots, addressed by epoch and sample.

Reference: Du et al., NeurIPS 2022, arXiv 2205.14083, Section 3.2 (memory: Section 3.3).
"""

from collections.abc import Mapping, Sequence
from math import log, prod
from pathlib import Path

import torch
from torch import Tensor

from overparam.training.checkpoint import State
from overparam.training.trajectory_loss import check_finite, check_tau

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class TrajectoryBuffer:
    """Outputs of every sample in the last ``distance`` + 1 epochs.

    Epoch e writes slot e mod (distance + 1) and reads slot (e - distance) mod (distance + 1), which
    is what epoch e - distance wrote, whatever the order of the samples. Each row is tagged with
    the epoch that wrote it: a sample that ``drop_last`` skipped is not valid, instead of old.

    Args:
        n: number of rows (samples; members times samples for an ensemble).
        n_classes: outputs C per sample (or per token).
        distance: E >= 1 epochs.
        dtype: in which outputs are kept; float16 halves the memory.
        inner: axes between sample and class, e.g. (T,) for the tokens of a sequence.
        top_k: keep only the K largest logits of each row; the others share what probability is
            left (at temperature ``tau``) evenly. None keeps all.
        tau: temperature at which ``top_k`` is exact on the K classes.
        memory_map: folder in which the table lies as files, for tables larger than memory. Files
            that are there already are gone on with, tags included.
        device: where the table lies.

    Raises:
        ValueError: a number out of range, or a memory map on another device than the CPU.

    Example:
        >>> buffer = TrajectoryBuffer(n=4, n_classes=2, distance=1)
        >>> buffer.write(0, torch.tensor([2, 0]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        >>> past, valid = buffer.read(1, torch.tensor([0, 1]))
        >>> past[0].tolist(), valid.tolist()
        ([3.0, 4.0], [True, False])
    """

    def __init__(
        self,
        n: int,
        n_classes: int,
        distance: int,
        dtype: torch.dtype = torch.float32,
        *,
        inner: Sequence[int] = (),
        top_k: int | None = None,
        tau: float = 1.0,
        memory_map: str | Path | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        check_storage(distance, dtype, top_k)
        check_tau(tau)
        if n < 1 or n_classes < 1 or min(inner, default=1) < 1:
            raise ValueError(f"n={n}, n_classes={n_classes}, inner={inner}; allowed: each >= 1")
        if memory_map is not None and torch.device(device).type != "cpu":
            raise ValueError(f"device={device} with a memory_map; allowed: 'cpu'")
        self.n, self.n_classes, self.distance, self.tau = n, n_classes, distance, tau
        self.inner = tuple(inner)
        # Keeping a value per class is the smaller table when nearly all are kept.
        self.top_k = top_k if top_k is not None and top_k + 1 < n_classes else None
        slots = distance + 1
        width = n_classes if self.top_k is None else self.top_k + 1
        self._folder = None if memory_map is None else Path(memory_map)
        self._device = torch.device(device)
        self._epochs = self._tensor("epochs", (slots, n), torch.int32)
        self._values = self._tensor("values", (slots, n, *self.inner, width), dtype)
        self._classes: Tensor | None = None
        if self.top_k is not None:
            small = torch.int16 if n_classes <= 2**15 else torch.int32
            self._classes = self._tensor("classes", (slots, n, *self.inner, self.top_k), small)

    @property
    def bytes(self) -> int:
        """Size of the table, tags included."""
        return sum(t.numel() * t.element_size() for t in self._tensors().values())

    def write(self, epoch: int, idx: Tensor, logits: Tensor, keep: Tensor | None = None) -> None:
        """Record the outputs of some samples in this epoch; one ``index_copy`` per table.

        Args:
            epoch: from 0.
            idx: rows, integer (...).
            logits: (..., *inner, C); recorded without gradient.
            keep: bool (...), rows that are not to be recorded (they are then not valid).

        Raises:
            ValueError: a row outside 0..n-1, another number of classes than at the start, shapes
                that do not fit, outputs to keep that are not finite in the table's dtype.
        """
        rows = self._rows(epoch, idx)
        if logits.shape != (*idx.shape, *self.inner, self.n_classes):
            raise ValueError(
                f"logits has shape {tuple(logits.shape)}; expected "
                f"{(*idx.shape, *self.inner, self.n_classes)}: the buffer was made for "
                f"{self.n_classes} classes"
            )
        outputs = logits.detach().reshape(rows.numel(), *self.inner, self.n_classes)
        outputs = outputs.to(self._device)
        epochs = torch.full_like(rows, epoch, dtype=torch.int32)
        if keep is not None and not bool(keep.all()):
            kept = keep.reshape(-1).to(self._device)
            epochs = torch.where(kept, epochs, -1)
            outputs = torch.where(kept.view(-1, *(1,) * (outputs.ndim - 1)), outputs, 0)
        slot = epoch % (self.distance + 1)
        values = outputs
        if self._classes is not None and self.top_k is not None:
            values, classes = self._compressed(outputs, self.top_k)
            self._classes[slot].index_copy_(0, rows, classes.to(self._classes.dtype))
        values = values.to(self._values.dtype)
        check_finite(values)
        self._values[slot].index_copy_(0, rows, values)
        self._epochs[slot].index_copy_(0, rows, epochs)

    def read(self, epoch: int, idx: Tensor) -> tuple[Tensor, Tensor]:
        """What epoch ``epoch - distance`` recorded of some samples.

        Args:
            epoch: the present epoch.
            idx: rows, integer (...).

        Returns:
            Outputs (..., *inner, C), in the table's dtype, or float32 where that is a half; and
            valid (...): which of them that epoch recorded. The others hold anything.

        Raises:
            ValueError: a row outside 0..n-1, or a negative epoch.
        """
        rows = self._rows(epoch, idx)
        slot = (epoch - self.distance) % (self.distance + 1)
        values = self._values[slot].index_select(0, rows)
        if values.dtype in (torch.float16, torch.bfloat16):
            values = values.float()
        if self._classes is not None:
            classes = self._classes[slot].index_select(0, rows).long()
            rest = values[..., -1:].repeat(*(1,) * (values.ndim - 1), self.n_classes)
            values = rest.scatter(-1, classes, values[..., :-1])
        valid = self._epochs[slot].index_select(0, rows) == epoch - self.distance
        # Before epoch `distance` nothing can be there (and -1 is the tag of an empty row).
        valid &= epoch >= self.distance
        shape = (*idx.shape, *self.inner, self.n_classes)
        return values.view(shape).to(idx.device), valid.view(idx.shape).to(idx.device)

    def state(self) -> State:
        """Copies of the tables; empty where they lie in a memory map, which keeps them itself."""
        if self._folder is not None:
            return {}
        return {name: t.clone() for name, t in self._tensors().items()}

    def load_state(self, state: Mapping[str, Tensor | int]) -> None:
        """Put back what :meth:`state` gave.

        Raises:
            ValueError: a table is missing or has another shape or dtype.
        """
        for name, table in self._tensors().items() if self._folder is None else ():
            saved = state.get(name)
            fits = isinstance(saved, Tensor) and (saved.shape, saved.dtype) == (
                table.shape,
                table.dtype,
            )
            if not isinstance(saved, Tensor) or not fits:
                raise ValueError(
                    f"{name!r} of the saved buffer does not fit {tuple(table.shape)} {table.dtype}"
                )
            table.copy_(saved)

    @property
    def written(self) -> bool:
        """Whether anything is recorded."""
        return bool((self._epochs >= 0).any())

    def _compressed(self, outputs: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k largest logits with one more for all others, and their classes."""
        top, classes = (outputs / self.tau).topk(k, dim=-1)
        others = (outputs / self.tau).scatter(-1, classes, -torch.inf).logsumexp(-1, keepdim=True)
        rest = others - log(self.n_classes - k)
        return self.tau * torch.cat([top, rest], dim=-1), classes

    def _rows(self, epoch: int, idx: Tensor) -> Tensor:
        if epoch < 0:
            raise ValueError(f"epoch={epoch}; allowed >= 0")
        if idx.is_floating_point() or idx.dtype == torch.bool or not idx.numel():
            raise ValueError(f"idx is {idx.dtype} of shape {tuple(idx.shape)}; expected integers")
        low, high = (int(end) for end in idx.aminmax())
        if low < 0 or high >= self.n:
            raise ValueError(f"idx spans {low}..{high}; allowed 0..{self.n - 1}, the samples")
        return idx.reshape(-1).to(self._device, torch.int64)

    def _tensor(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        empty = -1 if name == "epochs" else 0
        if self._folder is None:
            return torch.full(shape, empty, dtype=dtype, device=self._device)
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / f"{name}.bin"
        size = prod(shape) * dtype.itemsize
        old = file.exists()
        if old and file.stat().st_size != size:
            raise ValueError(f"{file} has {file.stat().st_size} bytes; this buffer needs {size}")
        table = torch.from_file(str(file), shared=True, size=prod(shape), dtype=dtype).view(shape)
        # A new file is full of zeros without being written, which spares the disk a pass.
        return table if old or empty == 0 else table.fill_(empty)

    def _tensors(self) -> dict[str, Tensor]:
        tables = {"epochs": self._epochs, "values": self._values}
        return tables if self._classes is None else {**tables, "classes": self._classes}


def check_storage(distance: int, dtype: torch.dtype, top_k: int | None) -> None:
    """Refuse settings that no buffer can have with a ``ValueError``."""
    if distance < 1:
        raise ValueError(f"distance={distance}; allowed >= 1 epoch")
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype}; allowed: {', '.join(map(str, DTYPES))}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k={top_k}; allowed >= 1, or None for all")
