"""Masks for a budget of all parameters of a model, and telling what they leave as it is."""

import warnings
from collections.abc import Callable, Iterable

from torch import nn

from overparam.compress.masks import Masks, apply_masks
from overparam.compress.registry import LeftAlone, kept_weights, untouched_layers
from overparam.compress.single_names import single_names, treatable_slots
from overparam.compress.weights import WeightSlot


def mask_model(
    model: nn.Module, ratio: float, masks: Callable[[nn.Module, int], Masks]
) -> nn.Module:
    """A copy of ``model`` under masks that leave exactly what the ratio allows.

    Args:
        model: dense; not changed.
        ratio: parameters / parameters kept, > 1, over all of the model.
        masks: (model, weights to keep) to masks. The model that it gets has one name per weight and
            can't be called where modules are used in several places.

    Raises:
        ValueError: ratio <= 1.
        CannotTreat: no weight can be masked, or what can't be is above the budget already.

    Warns:
        LeftAlone: names layers with matrices or kernels that can't be masked.
    """
    count = mask_budget(model, ratio)
    names = single_names(model)
    distinct = names.emptied(model)
    return names.fill(apply_masks(distinct, masks(distinct, count)))


def mask_budget(model: nn.Module, ratio: float) -> int:
    """Weights that masks may keep; raises and warns as :func:`mask_model`."""
    if ratio > 1:
        treatable_weights(model)
    return kept_weights(single_names(model).emptied(model), ratio)


def treatable_weights(model: nn.Module) -> list[WeightSlot]:
    """The compressible weights of a model by their first names.

    Raises:
        CannotTreat: the model has none, or one that can't be told apart from others.

    Warns:
        LeftAlone: names layers whose matrices or kernels are not among them.
    """
    slots = treatable_slots(model)
    _warn_untouched(model, {layer for slot in slots for layer in slot.layers})
    return slots


def _warn_untouched(model: nn.Module, treated: Iterable[str]) -> None:
    names = untouched_layers(model, treated)
    if names:
        warnings.warn(f"{', '.join(names)}: left dense", LeftAlone, stacklevel=5)
