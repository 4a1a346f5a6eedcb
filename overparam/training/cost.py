"""Cost of training in passes, which no clock and no machine can blur."""

from dataclasses import dataclass


@dataclass
class CostCounter:
    """Counts the samples that went forward and backward through one network.

    An ensemble counts as one network: the numbers are those of each member. SGD makes one forward
    and one backward pass per sample, SAM two of each, a teacher's forward pass adds to ``forward``
    alone.

    Attributes:
        forward: sample-passes forward.
        backward: sample-passes backward.
    """

    forward: int = 0
    backward: int = 0

    def add(self, *, forward: int = 0, backward: int = 0) -> None:
        """Count ``forward`` and ``backward`` more sample-passes.

        Raises:
            ValueError: a negative count.
        """
        if forward < 0 or backward < 0:
            raise ValueError(
                f"forward={forward}, backward={backward}: passes can't be negative; allowed >= 0"
            )
        self.forward += forward
        self.backward += backward
