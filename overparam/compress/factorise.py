"""Replace layers by short chains of smaller plain layers, with parameters counted exactly."""

import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from overparam.compress.rank_budget import RankChoices, cheapest, choose_ranks, ranks_for_energy
from overparam.compress.registry import CannotTreat, LeftAlone, parameter_budget
from overparam.datasets import Batches
from overparam.training import Task

Call = Callable[[nn.Module], object]
EXAMPLES = 4
"""Samples on which a factored model is tried."""


@dataclass(frozen=True)
class Factorisation:
    """The ways to factor one layer.

    Attributes:
        choices: their parameters (of weights, without the bias) and kept energies; none costs as
            much as the dense weight.
        build: number of a choice to the chain that replaces the layer; the bias is its last
            layer's, the same ``Parameter``.
    """

    choices: RankChoices
    build: Callable[[int], nn.Sequential]


Ways = Callable[[nn.Module], Factorisation | str | None]
"""How a layer can be factored, why not, or ``None`` where there is nothing to say."""


def factorise(
    model: nn.Module,
    ways: Ways,
    *,
    parameters: int | None = None,
    energy: float | None = None,
    call: Call | None = None,
) -> nn.Module:
    """A copy of ``model`` with layers replaced by factors, by budget or by kept energy.

    A layer that is used in several places is replaced in all of them.

    Args:
        model: any module; not changed.
        ways: how a layer can be factored, why not, or ``None`` where there is nothing to say.
        parameters: of the whole result, at most: ranks by :func:`choose_ranks`; or
        energy: the share that every layer keeps, in (0, 1], at the fewest parameters.
        call: runs a model on an example: layers whose weights the model reads without calling them
            are found by it, and left alone.

    Raises:
        ValueError: not exactly one of ``parameters`` and ``energy``, or one out of range.
        CannotTreat: no layer can be factored, or the smallest ranks are above the budget.

    Warns:
        LeftAlone: names layers that stay dense, and why.
    """
    if (parameters is None) == (energy is None):
        raise ValueError(
            f"give exactly one of parameters and energy, got parameters={parameters}, "
            f"energy={energy}"
        )
    copy = deepcopy(model)
    found, reasons = _factorable(copy, ways)
    for name, reason in _uncallable(copy, found, call).items():
        reasons[name] = reason
        del found[name]
    if not found:
        _warn(reasons)
        raise CannotTreat("no layer that can be factored with fewer parameters")
    chosen: Sequence[int | None]
    if energy is not None:
        chosen = [ranks_for_energy(each.choices, energy) for each in found.values()]
    else:
        assert parameters is not None
        chosen = _within(copy, found, parameters)
    for (name, each), choice in zip(found.items(), chosen, strict=True):
        if choice is None or choice == len(each.choices.cost):
            reasons[name] = "dense is the best use of its parameters"
        else:
            copy = replace_layer(copy, copy.get_submodule(name), each.build(choice))
    _warn(reasons)
    return copy


def factorise_to_ratio(
    model: nn.Module, ways: Ways, *, ratio: float, data: Batches, task: Task
) -> nn.Module:
    """:func:`factorise` to at most P / ratio parameters, tried out on training samples."""
    inputs, _ = data.take(EXAMPLES)
    return factorise(
        model,
        ways,
        parameters=parameter_budget(model, ratio),
        call=lambda net: task.outputs(net, inputs),
    )


def replace_layer(model: nn.Module, layer: nn.Module, by: nn.Module) -> nn.Module:
    """Put ``by`` wherever ``layer`` is used, in place; its mode follows the layer's.

    Returns:
        ``model``, or ``by`` where the layer is the whole model.
    """
    by.train(layer.training)
    if model is layer:
        return by
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is layer:
                setattr(parent, name, by)
                if isinstance(parent, nn.TransformerEncoderLayer):
                    # Its fused inference kernel reads the layers' weights; 0 turns it off.
                    parent.activation_relu_or_gelu = 0
    return model


def plain_layer(
    kind: type[nn.Module], *sizes: int, weight: Tensor, bias: Tensor | None, **options: Any
) -> nn.Module:
    """A layer with this weight and bias, made without drawing random numbers."""
    assert bias is None or isinstance(bias, nn.Parameter)
    layer: nn.Module = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        kind, *sizes, device=weight.device, dtype=weight.dtype, bias=bias is not None, **options
    )
    layer.register_parameter("weight", nn.Parameter(weight))
    layer.register_parameter("bias", bias)
    return layer


def untreatable(layer: nn.Module, kinds: tuple[type[nn.Module], ...]) -> str | None:
    """Why a layer of one of these kinds can't be replaced by what computes the same, if so."""
    kind = next(kind for kind in kinds if isinstance(layer, kind))
    weight = layer._parameters.get("weight")
    if weight is None or isinstance(weight, nn.UninitializedParameter):
        return "its weight is computed from other tensors, or not yet there"
    if not weight.is_floating_point():
        return f"its weight is of {weight.dtype}"
    if not weight.requires_grad:
        return "frozen"
    if not bool(weight.isfinite().all()):
        return "its weight is not finite"
    methods = (
        ("forward", "_conv_forward") if issubclass(kind, nn.modules.conv._ConvNd) else ("forward",)
    )
    if any(getattr(type(layer), name) is not getattr(kind, name) for name in methods):
        return f"{type(layer).__name__} computes in its own way"
    if layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks:
        return "it has hooks"
    return None


def _factorable(model: nn.Module, ways: Ways) -> tuple[dict[str, Factorisation], dict[str, str]]:
    """What can be factored, and why not what else holds a matrix, by the names of layers."""
    users: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        for own in module._parameters.values():
            if own is not None:
                users.setdefault(id(own), []).append(name)
    found, reasons = {}, {}
    for name, module in model.named_modules():
        weight = module._parameters.get("weight")
        others = [user for user in users.get(id(weight), []) if user != name]
        if others and weight is not None and weight.ndim > 1:
            reasons[name] = f"the weight is tied to that of {', '.join(others)}"
            continue
        way = ways(module)
        if isinstance(way, str):
            reasons[name] = way
        elif way is not None and way.choices.cost.size:
            found[name] = way
        elif way is not None:
            reasons[name] = "no rank would save anything"
        elif type(module).__module__.startswith("torch.nn."):
            if any(p.ndim > 1 for p in module.parameters(recurse=False)):
                reasons[name] = f"{type(module).__name__} is no layer that is factored here"
        else:
            for own_name, own in module.named_parameters(recurse=False):
                if own.ndim > 1:
                    path = f"{name}.{own_name}" if name else own_name
                    reasons[path] = "no weight of a layer that is factored here"
    return found, reasons


def _uncallable(
    model: nn.Module, found: dict[str, Factorisation], call: Call | None
) -> dict[str, str]:
    """The layers that a model does more with than call them, and what it says to it."""
    if call is None or not found or _runs(model, found, list(found), call) is None:
        return {}
    errors = {name: _runs(model, found, [name], call) for name in found}
    return {
        name: f"the model does more with it than call it ({error})"
        for name, error in errors.items()
        if error is not None
    }


def _runs(
    model: nn.Module, found: dict[str, Factorisation], names: list[str], call: Call
) -> str | None:
    """What goes wrong when these layers are factored, if something does."""
    trial = deepcopy(model).eval()
    for name in names:
        part = found[name].build(cheapest(found[name].choices))
        trial = replace_layer(trial, trial.get_submodule(name), deepcopy(part).eval())
    try:
        with torch.no_grad():
            call(trial.eval())
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def _within(model: nn.Module, found: dict[str, Factorisation], parameters: int) -> list[int]:
    """Choices within a budget of the whole model; staying dense is each layer's last choice."""
    sizes = [_weight(model.get_submodule(name)).numel() for name in found]
    fixed = sum(p.numel() for p in model.parameters()) - sum(sizes)
    layers = [
        RankChoices(np.append(each.choices.cost, size), np.append(each.choices.energy, 1.0))
        for each, size in zip(found.values(), sizes, strict=True)
    ]
    least = fixed + sum(int(layer.cost[cheapest(layer)]) for layer in layers)
    if least > parameters:
        raise CannotTreat(
            f"{parameters} parameters are asked for; with the smallest ranks there are {least}, "
            f"{fixed} of them in what is not factored"
        )
    return choose_ranks(layers, parameters - fixed)


def _weight(layer: nn.Module) -> nn.Parameter:
    """The parameter itself: a masked layer's attribute ``weight`` is computed from it."""
    weight = layer._parameters["weight"]
    assert weight is not None
    return weight


def _warn(reasons: dict[str, str]) -> None:
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name or "the model")
    for reason, alike in names.items():
        warnings.warn(f"{', '.join(alike)}: {reason}, left dense", LeftAlone, stacklevel=4)
