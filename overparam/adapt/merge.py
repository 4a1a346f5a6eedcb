"""Fold trained pairs into the weights, so that inference costs what it did before."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from overparam.adapt.attach import check_alone, detach
from overparam.adapt.operations import NORMS, fold_back, fold_forward, refuse_forward
from overparam.adapt.rules import check_not_shared
from overparam.adapt.scale_shift import NAME, apply_pair, pairs
from overparam.adapt.tracing import Consumers, consumers

Direction = Literal["back", "forward"]


def merge_ssf(
    model: nn.Module, direction: Direction | Mapping[str, Direction] = "back"
) -> nn.Module:
    """Return a plain copy of the model with every pair folded into a neighbouring operation.

    Folding back is exact for every operation that takes a pair: `W' = diag(scale) W`,
    `b' = scale * b + shift`, likewise for the affine part of norms; missing biases and affine
    parameters are created. Lian et al. 2022, section 3.3. The copy has the original's class tree,
    no pair, and no hook or reference that leads to one.

    Args:
        model: a model after `inject_ssf`; it stays as it is.
        direction: "back"; or "forward" to push each pair that follows a norm into the linear map
            or convolution that reads it (`W' = W diag(scale)`, `b' = b + W shift`), other pairs
            going back; or a mapping from shell patterns of names to either.

    Raises:
        ValueError: the model has no pairs; tied weights; a pair can't be pushed forward exactly
            (reader pads with zeros, is no linear map, also reads something else, or several read
            and one is such); a pattern matches no pair.
        RuntimeError: a batch norm is in train mode, or an operation carries another addition.
    """
    found = pairs(model)
    if not found:
        raise ValueError(f"{type(model).__name__} has no pairs to merge")
    check_batch_norm_eval(model)
    check_not_shared(model, found)
    for name in found:
        check_alone(name, model.get_submodule(name), NAME)
    forward = _forward_names(model, direction)
    readers = _readers(model, forward)

    merged = copy.deepcopy(model)
    for name, pair in pairs(merged).items():
        operation = merged.get_submodule(name)
        if name in readers:
            for reader in readers[name]:
                fold_forward(merged.get_submodule(reader), pair.scale, pair.shift)
        detach(operation, NAME, apply_pair)
    # A weight may take one pair on its input and one on its output side; the order is free.
    for name, pair in found.items():
        if name not in readers:
            fold_back(merged.get_submodule(name), pair.scale, pair.shift)
    return merged


def check_batch_norm_eval(model: nn.Module) -> None:
    """Refuse a model whose batch norms use the statistics of the batch.

    Raises:
        RuntimeError: naming the batch norm.
    """
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.training:
            raise RuntimeError(f"{name!r} is a batch norm in train mode; call model.eval() first")


def _forward_names(model: nn.Module, direction: Direction | Mapping[str, Direction]) -> list[str]:
    found = pairs(model)
    if isinstance(direction, str):
        if direction not in ("back", "forward"):
            raise ValueError(f"direction is 'back' or 'forward', got {direction!r}")
        if direction == "back":
            return []
        return [name for name in found if isinstance(model.get_submodule(name), NORMS)]
    chosen: dict[str, Direction] = {}
    for pattern, value in direction.items():
        if value not in ("back", "forward"):
            raise ValueError(f"direction[{pattern!r}] is 'back' or 'forward', got {value!r}")
        matches = [name for name in found if fnmatchcase(name, pattern)]
        if not matches:
            raise ValueError(f"direction pattern {pattern!r} matches no pair")
        chosen.update(dict.fromkeys(matches, value))
    return [name for name, value in chosen.items() if value == "forward"]


def _readers(model: nn.Module, names: list[str]) -> dict[str, list[str]]:
    """Return which operations take each pair that goes forward, all of them able to."""
    if not names:
        return {}
    flow, found = consumers(model), pairs(model)
    for name in names:
        axis = found[name].axis
        reasons = [_refusal(model, flow, name, reader, axis) for reader in flow.readers[name]]
        problems = [reason for reason in reasons if reason] if reasons else ["nothing reads it"]
        if problems:
            raise ValueError(
                f"the pair after {name!r} cannot be pushed forward: {'; '.join(problems)}. "
                "Folding it back (direction='back') is always exact"
            )
    readers = {name: flow.readers[name] for name in names}
    every = [reader for group in readers.values() for reader in group]
    check_not_shared(model, every)
    for reader in every:
        check_alone(reader, model.get_submodule(reader), NAME)
    return readers


def _refusal(model: nn.Module, flow: Consumers, name: str, reader: str, axis: int) -> str | None:
    if reader.startswith("<"):
        return f"{reader[1:-1]} reads it, which has no weight to take it"
    if not flow.sole_input(reader, name):
        return f"{reader!r} also reads something else"
    reason = refuse_forward(model.get_submodule(reader), axis)
    return None if reason is None else f"{reader!r}: {reason}"
