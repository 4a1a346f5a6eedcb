"""Recipe: how one plain module is trained."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
}


@dataclass(frozen=True)
class Recipe:
    """How a model is trained; the learning rate falls along half a cosine.

    Attributes:
        epochs: most passes over the data; 0 trains nothing.
        learning_rate: at the start.
        optimizer: ``adamw``, ``adam`` or ``sgd`` (with momentum .9).
        weight_decay: of the optimiser.
        batch_size: samples per step.
        patience: epochs without a better validation loss before training stops; ``None``: all.

    Raises:
        ValueError: a value out of range; the field is named.
    """

    epochs: int
    learning_rate: float
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    weight_decay: float = 0.0
    batch_size: int = 64
    patience: int | None = None

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise ValueError(f"epochs is {self.epochs}; allowed >= 0")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate}; allowed > 0")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer is {self.optimizer!r}; allowed {', '.join(OPTIMIZERS)}")
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay is {self.weight_decay}; allowed >= 0")
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}; allowed >= 1")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience is {self.patience}; allowed >= 1, or None")

    def make_optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser of these parameters."""
        options = {"lr": self.learning_rate, "weight_decay": self.weight_decay}
        if self.optimizer == "sgd":
            options["momentum"] = 0.9
        return OPTIMIZERS[self.optimizer](parameters, **options)  # type: ignore[arg-type]
