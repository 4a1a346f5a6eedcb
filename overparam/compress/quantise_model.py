"""All weights of a model on grids: which ones, and rounding them to the nearest level."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy

from torch import Tensor, nn

from overparam.compress.quantisation_grid import Grid
from overparam.compress.quantised_weight import quantise_weight
from overparam.compress.registry import LeftAlone
from overparam.compress.single_names import treatable_slots
from overparam.compress.weights import COMPRESSIBLE, WeightSlot

INNER = (nn.MultiheadAttention, nn.RNNBase, nn.modules.conv._ConvTransposeNd)
"""Layers whose own weights are rounded to the nearest levels by every quantiser."""


def round_to_nearest(model: nn.Module, grid_of: Callable[[Tensor], Grid]) -> nn.Module:
    """A copy of ``model`` whose weights are stored as the nearest levels of their grids.

    Args:
        model: any module; not changed.
        grid_of: from a weight (O, ...) to its levels.

    Raises:
        CannotTreat: no weight can be quantised.
        ValueError: a weight has no grid (not finite); it is named.

    Warns:
        LeftAlone: see :func:`quantisable_weights`.
    """
    rounded = deepcopy(model)
    for slot in quantisable_weights(rounded):
        weight = slot_weight(rounded, slot)
        grid = named(slot.name, grid_of, weight)
        store_integers(rounded, slot, grid.codes(weight), grid)
    round_inner(rounded, grid_of)
    return rounded


def round_inner(model: nn.Module, grid_of: Callable[[Tensor], Grid]) -> list[str]:
    """Round the :func:`inner_weights` of a model to the nearest levels, in place; their names."""
    names = inner_weights(model)
    for path in names:
        place, _, name = path.rpartition(".")
        layer = model.get_submodule(place)
        weight = layer._parameters[name]
        assert weight is not None
        grid = named(path, grid_of, weight.detach())
        codes = grid.codes(weight)
        quantise_weight(layer, codes, grid.scale, grid.zero, grid.bits, grid.group, name=name)
    return names


def inner_weights(model: nn.Module) -> list[str]:
    """Names of the weights of layers whose inputs can't be caught, or are of another form.

    Those of attention's input projections, of recurrent layers, and of transposed convolutions
    (whose first axis, which has the scales, is that of the input channels). Trainable ones that no
    other layer uses.
    """
    uses = Counter(id(p) for layer in model.modules() for p in layer._parameters.values())
    return [
        f"{path}.{name}" if path else name
        for path, layer in model.named_modules()
        if isinstance(layer, INNER)
        for name, weight in layer.named_parameters(recurse=False)
        if "weight" in name
        and weight.ndim > 1
        and weight.requires_grad
        and weight.is_floating_point()
        and uses[id(weight)] == 1
    ]


def quantisable_weights(model: nn.Module) -> list[WeightSlot]:
    """The weights that quantisers treat one by one, as :func:`compressible_weights` names them.

    Raises:
        CannotTreat: there is none, nor any of :func:`inner_weights`, or one can't be told apart
            from others; with the reason.

    Warns:
        LeftAlone: other parameters with two or more axes, which stay float: bare ones, frozen ones,
            those of layers that are none of torch's.
    """
    inner = inner_weights(model)
    alone = not any(isinstance(layer, COMPRESSIBLE) for layer in model.modules())
    slots = [] if inner and alone else treatable_slots(model)
    treated = {alias for slot in slots for alias in slot.aliases} | set(inner)
    left = [
        name
        for name, parameter in model.named_parameters()
        if parameter.ndim > 1 and name not in treated
    ]
    if left:
        left_alone(left, "only trainable weights of torch's own layers are quantised")
    return slots


def left_alone(names: Iterable[str], reason: str) -> None:
    """Warn with :class:`LeftAlone` that the named weights or layers stay float."""
    warnings.warn(f"{', '.join(names)}: {reason}; left float", LeftAlone, stacklevel=3)


def tell_nearest(names: Iterable[str]) -> None:
    """Warn with :class:`LeftAlone` of weights that a learning quantiser only rounds."""
    told = ", ".join(names)
    if told:
        text = f"{told}: rounded to the nearest level; learned are those of Linear, Conv1d/2d/3d"
        warnings.warn(text, LeftAlone, stacklevel=3)


def slot_weight(model: nn.Module, slot: WeightSlot) -> Tensor:
    """The weight as the model computes with it: masks count."""
    weight: Tensor = model.get_submodule(slot.layers[0]).weight  # type: ignore[assignment]
    return weight.detach()


def looked_up(model: nn.Module, slot: WeightSlot) -> bool:
    """Whether an embedding uses the tensor.

    Of a lookup each row is an output by itself: the nearest levels are the best ones.
    """
    return any(isinstance(model.get_submodule(layer), nn.Embedding) for layer in slot.layers)


def store_integers(model: nn.Module, slot: WeightSlot, codes: Tensor, grid: Grid) -> None:
    """Quantise all layers that use one weight, in place; they share the integers."""
    for layer in slot.layers:
        quantise_weight(
            model.get_submodule(layer), codes, grid.scale, grid.zero, grid.bits, grid.group
        )


def named(name: str, grid_of: Callable[[Tensor], Grid], weight: Tensor) -> Grid:
    """``grid_of(weight)``, with the weight's name in front of what it complains of."""
    try:
        return grid_of(weight)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def first_calls(slots: Iterable[WeightSlot], counts: Mapping[str, int]) -> list[WeightSlot]:
    """The weights that are used in a pass, in the order of their first use."""
    places = {name: place for place, name in enumerate(counts)}
    first = {
        slot.name: min((places[name] for name in slot.layers if name in places), default=None)
        for slot in slots
    }
    used = [slot for slot in slots if first[slot.name] is not None]
    return sorted(used, key=lambda slot: first[slot.name] or 0)
