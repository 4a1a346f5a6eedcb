"""Task: how a batch reaches a model, what is lost, and what the outputs mean."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from overparam.datasets import Inputs
from overparam.training.target_scale import TargetScale

Forward = Callable[[nn.Module, Inputs], Any]
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Task:
    """How samples reach a model, and the loss.

    Attributes:
        kind: ``classification`` or ``regression``.
        classes: names of the classes, in the order of the labels; empty for a regression.
        forward: (model, inputs) to what the model gives; by default ``model(x)``, ``model(*xs)``
            for a tuple and ``model(**xs)`` for a dict.
        loss: (outputs, targets) to the mean loss; by default cross entropy, or squared error.
        target: of a regression: how targets are scaled for the network, which then gives scaled
            values; :meth:`values` are in the targets' units. A loss of its own gets the targets
            as they are.
    """

    kind: Literal["classification", "regression"]
    classes: tuple[str, ...] = ()
    forward: Forward | None = None
    loss: Loss | None = None
    target: TargetScale | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("classification", "regression"):
            raise ValueError(f"kind is {self.kind!r}; allowed: classification, regression")
        if self.kind == "classification" and len(self.classes) < 2:
            raise ValueError(f"classes are {self.classes}; a classification has at least two")
        if self.target is not None and self.kind != "regression":
            raise ValueError("target is given for a classification, whose targets have no units")

    def outputs(self, model: nn.Module, inputs: Inputs) -> Tensor:
        """Logits (B, C), or values (B,) or (B, k), as the network gives them.

        Where the model gives an object with ``logits``, a mapping with it, or a tuple, it is taken
        from there (the tuple's first).

        Raises:
            TypeError: there is no tensor in what the model gives.
        """
        given = self.forward(model, inputs) if self.forward else call_model(model, inputs)
        found = given
        if isinstance(given, Mapping):
            found = given.get("logits")
        elif hasattr(given, "logits"):
            found = given.logits
        elif isinstance(given, tuple) and given:
            found = given[0]
        if not isinstance(found, Tensor):
            raise TypeError(
                f"the model gives a {type(given).__name__} without logits; allowed: a tensor, "
                "an object or mapping with logits, or a tuple that begins with a tensor; or give "
                "a Task with a forward of its own"
            )
        return found

    def loss_of(self, model: nn.Module, inputs: Inputs, targets: Tensor) -> Tensor:
        """The mean loss of a batch, a scalar."""
        return self.loss_at(self.outputs(model, inputs), targets)

    def loss_at(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of outputs that are there already."""
        if self.loss is not None:
            return self.loss(outputs, targets)
        if self.kind == "classification":
            return cross_entropy(outputs, targets)
        wanted = targets if self.target is None else self.target.standard(targets)
        return mse_loss(outputs.reshape(targets.shape), wanted)

    def values(self, outputs: Tensor) -> Tensor:
        """Outputs of the network in the units of the targets."""
        return outputs if self.target is None else self.target.original(outputs)


def call_model(model: nn.Module, inputs: Inputs) -> Any:
    """``model(x)``, ``model(*xs)`` or ``model(**xs)``."""
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)
