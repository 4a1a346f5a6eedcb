"""Training and test samples of one seed, or of the members of an ensemble, as tensors."""

from typing import NamedTuple, Self

from torch import Tensor

from overparam.datasets.samples import member_samples
from overparam.store import Tables


class TrainTest(NamedTuple):
    """Inputs and classes to train and to test on.

    Attributes:
        x: training inputs (N, ...), or (E, N, ...) of E members.
        y: their classes (N,) or (E, N).
        x_test: test inputs (M, ...) or (E, M, ...).
        y_test: their classes (M,) or (E, M).
    """

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor

    @classmethod
    def of(cls, tables: Tables, *seeds: int, name: str = "samples") -> Self:
        """The samples of one seed, or of several with an axis of members.

        Args:
            tables: what :func:`~overparam.datasets.split_tables` made, of these seeds at least.
            seeds: the members' seeds, in the order wanted; a single one gives no axis of members.
            name: of the table.

        Raises:
            ValueError: no seeds; what :func:`~overparam.datasets.member_samples` refuses.
        """
        if not seeds:
            raise ValueError("seeds must hold at least one seed")
        train, test = (member_samples(tables, seeds, part, name=name) for part in ("train", "test"))
        stacked = (*train, *test)
        return cls(*stacked) if len(seeds) > 1 else cls(*(tensor[0] for tensor in stacked))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return tuple(self.x.shape[self.y.ndim :])

    @property
    def classes(self) -> int:
        """Number of classes: one more than the largest of the training labels."""
        return int(self.y.max()) + 1
