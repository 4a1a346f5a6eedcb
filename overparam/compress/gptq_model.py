"""GPTQ over a whole model, each layer on what the quantised layers before it produce."""

from collections.abc import Sequence
from copy import deepcopy
from functools import partial

from torch import Tensor, nn

from overparam.compress.gptq import gptq_round
from overparam.compress.input_hessian import input_hessian
from overparam.compress.layer_inputs import call_counts, catch_inputs, check_batches
from overparam.compress.packing import check_bits
from overparam.compress.quantisation_grid import Levels, make_grid
from overparam.compress.quantise_model import (
    first_calls,
    left_alone,
    looked_up,
    named,
    quantisable_weights,
    round_inner,
    slot_weight,
    store_integers,
    tell_nearest,
)
from overparam.datasets import Inputs
from overparam.training.task import Forward, call_model


def gptq_model(
    model: nn.Module,
    calib: Sequence[Inputs],
    bits: int,
    *,
    levels: Levels = "symmetric",
    group: int | None = None,
    damping: float = 0.01,
    act_order: bool = False,
    forward: Forward = call_model,
) -> nn.Module:
    """A copy of ``model`` with integer weights, made by :func:`gptq_round` layer after layer.

    Layers are treated in the order in which they run; the inputs of each are caught in the model
    whose earlier layers are quantised already, and only their second moments are kept. A weight
    that several layers share gets the moments of all of them. Tables of embeddings, and layers tied
    to one, are rounded to the nearest level: the best for a lookup. So are the
    :func:`inner_weights`, before all others, which then make up for it.

    Args:
        model: trained; not changed.
        calib: batches of inputs, each as the model takes it; no labels.
        bits: 2..8.
        levels: see :func:`make_grid`.
        group: columns that share a scale; ``None``: all of a channel.
        damping: see :func:`gptq_round`, as
        act_order: this one.
        forward: runs the model on one of the batches.

    Raises:
        CannotTreat: no weight can be quantised.
        ValueError: no calibration batch, one with NaN, and as :func:`gptq_round`; the weight is
            named.

    Warns:
        LeftAlone: weights that no forward pass uses or that are only rounded, and as
            :func:`quantisable_weights`.
    """
    check_bits(bits)
    batches = list(calib)
    check_batches(batches)
    rounded = deepcopy(model)
    slots = quantisable_weights(rounded)
    names = [name for slot in slots for name in slot.layers]
    grid_of = partial(make_grid, bits=bits, levels=levels, group=group)
    tell_nearest(round_inner(rounded, grid_of))
    counts = call_counts(rounded, names, batches[0], forward)
    used = first_calls(slots, counts)
    unused = [slot.name for slot in slots if slot not in used]
    if unused:
        left_alone(unused, "not used in a forward pass")
    for slot in used:
        weight = slot_weight(rounded, slot)
        grid = named(slot.name, grid_of, weight)
        if looked_up(rounded, slot):
            store_integers(rounded, slot, grid.codes(weight), grid)
            continue
        calls = {name: counts[name] for name in slot.layers if name in counts}
        hessian = _hessian(rounded, calls, batches, forward)
        try:
            result = gptq_round(
                weight,
                hessian,
                bits,
                levels=levels,
                group=group,
                damping=damping,
                act_order=act_order,
            )
        except ValueError as error:
            raise ValueError(f"{slot.name}: {error}") from error
        store_integers(rounded, slot, result.codes, result.grid)
    return rounded


def _hessian(
    model: nn.Module, calls: dict[str, int], batches: Sequence[Inputs], forward: Forward
) -> Tensor:
    total: list[Tensor] = []

    def add(name: str, x: Tensor) -> None:
        moments = input_hessian(model.get_submodule(name), x)
        total[:] = [moments + total[0] if total else moments]

    catch_inputs(model, calls, batches, add, forward)
    return total[0]
