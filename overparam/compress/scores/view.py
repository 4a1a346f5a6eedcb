"""A model, or an ensemble of it, as a function of its compressible weights."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.modules.dropout import _DropoutNd

from overparam.compress.weights import WeightSlot, compressible_weights
from overparam.training.ensemble import Ensemble

Scorable = nn.Module | Ensemble
Loss = Callable[[Tensor, Tensor], Tensor]
Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class WeightView:
    """Effective weights (``masks`` multiplied in) and the forward pass as a function of them.

    For an ensemble every tensor has a leading member axis and losses are summed over the members;
    no operation mixes them, so each member gets the scores it would get alone.
    """

    model: Scorable
    slots: list[WeightSlot]
    weights: dict[str, Tensor]
    masks: dict[str, Tensor]

    def under(self, masks: Mapping[str, Tensor]) -> "WeightView":
        """The view with further masks multiplied in; ``ValueError`` if one is of no weight."""
        for name in masks.keys() - self.weights.keys():
            raise ValueError(
                f"masks name {name!r}, which is no weight; allowed {list(self.weights)}"
            )
        weights = {
            name: torch.where(masks[name], weight, 0.0) if name in masks else weight
            for name, weight in self.weights.items()
        }
        joint = {
            name: masks[name] & self.masks[name] if name in self.masks else masks[name]
            for name in masks
        }
        return replace(self, weights=weights, masks={**self.masks, **joint})

    def outputs(
        self, weights: Mapping[str, Tensor], x: Tensor, change: Change = lambda tensor: tensor
    ) -> Tensor:
        """Outputs at these weights; the model's own parameters and buffers stay untouched.

        Args:
            weights: effective weights by name.
            x: inputs (B, ...), for an ensemble (E, B, ...).
            change: applied to every other parameter and floating buffer.
        """
        parameters, buffers = _tensors(self.model)
        state = {
            name: weights[name] if name in weights else change(p.detach())
            for name, p in parameters.items()
        }
        # Cloned, because batch norm in train mode updates its running statistics in place.
        moving = {
            name: change(b).clone() if b.is_floating_point() else b.clone()
            for name, b in buffers.items()
        }
        if isinstance(self.model, Ensemble):
            return self.model.functional(state, moving, x)
        out: Tensor = functional_call(self.model, (state, moving), (x,))
        return out

    def loss(self, weights: Mapping[str, Tensor], x: Tensor, y: Tensor, loss: Loss) -> Tensor:
        """Loss at these weights, summed over the members of an ensemble (0-d)."""
        outputs = self.outputs(weights, x)
        per_member = vmap(loss) if isinstance(self.model, Ensemble) else loss
        return per_member(outputs, y).sum()


def weight_view(model: Scorable, masks: Mapping[str, Tensor] | None = None) -> WeightView:
    """View of ``model`` under the masks it carries and those given.

    Args:
        model: a module, or an ensemble (its scores and masks have a leading member axis).
        masks: further boolean masks by weight name.

    Raises:
        ValueError: ``masks`` names something that is no weight of the model.
        TypeError, ValueError: see :func:`compressible_weights`.
    """
    slots = compressible_weights(model.members()[0] if isinstance(model, Ensemble) else model)
    parameters, buffers = _tensors(model)
    weights = {slot.name: parameters[slot.name].detach() for slot in slots}
    own = {slot.name: buffers[slot.mask] for slot in slots if slot.mask in buffers}
    return WeightView(model, slots, weights, {}).under(own).under({} if masks is None else masks)


@contextmanager
def scoring_mode(model: Scorable, *, evaluate: bool = False) -> Iterator[None]:
    """Dropout off, with ``evaluate`` all in eval mode; put back at the end, also on errors."""
    if isinstance(model, Ensemble):
        was_training = model.training
        model.train(was_training and not evaluate)
        try:
            yield
        finally:
            model.train(was_training)
        return
    modes = {module: module.training for module in model.modules()}
    for module in modes:
        if evaluate or isinstance(module, _DropoutNd):
            module.training = False
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _tensors(model: Scorable) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
    if isinstance(model, Ensemble):
        return model.parameters, model.buffers
    return dict(model.named_parameters()), dict(model.named_buffers())
