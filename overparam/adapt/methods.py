"""The tuning methods by name, and rivals of equal size."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import nn

from overparam.adapt.adapter import inject_adapters
from overparam.adapt.lora import inject_lora
from overparam.adapt.scale_shift import inject_ssf
from overparam.adapt.selective import bitfit, full_tuning, linear_probe, norm_tune
from overparam.adapt.targets import ADDED, find_head
from overparam.adapt.vpt import vpt
from overparam.measure import ParamReport, param_report

PLAIN: dict[str, Callable[[nn.Module], nn.Module]] = {
    "full": full_tuning,
    "linear": linear_probe,
    "bitfit": bitfit,
    "norm": norm_tune,
}
"""Methods that train a part of what is there."""

PAIRED: dict[str, Callable[[nn.Module, int], nn.Module]] = {
    "ssf": lambda model, seed: inject_ssf(model, seed=seed),
    "ssf-scale": lambda model, seed: inject_ssf(model, learn="scale", seed=seed),
    "ssf-shift": lambda model, seed: inject_ssf(model, learn="shift", seed=seed),
    "ssf-final": lambda model, seed: inject_ssf(model, lambda name, _: name == "norm", seed=seed),
}
"""SSF with its ablations; ``ssf-final`` has one pair, after the final norm (named ``norm``)."""

SIZED: dict[str, Callable[[nn.Module, int, int], nn.Module]] = {
    "adapter": lambda model, size, seed: inject_adapters(model, bottleneck=size, seed=seed),
    "lora": lambda model, size, seed: inject_lora(model, rank=size, seed=seed),
    "vpt-shallow": lambda model, size, seed: vpt(model, size, seed=seed),
    "vpt-deep": lambda model, size, seed: vpt(model, size, deep=True, seed=seed),
}
"""Methods that add as much as a size says: bottleneck, rank, prompts per block."""

METHODS = (*PLAIN, *PAIRED, *SIZED)


def apply_method(model: nn.Module, method: str, *, size: int = 1, seed: int = 0) -> nn.Module:
    """Prepare a model for tuning by a method, in place: add parts, freeze the rest.

    Args:
        model: the pretrained network, with the head of the new task.
        method: one of ``METHODS``.
        size: of ``SIZED`` methods; the others have none.
        seed: start of what is added.

    Raises:
        ValueError: an unknown method, or one that the model cannot take (prompts need a
            transformer).
    """
    if method in PLAIN:
        return PLAIN[method](model)
    if method in PAIRED:
        return PAIRED[method](model, seed)
    if method not in SIZED:
        raise ValueError(f"method={method!r}; allowed: {', '.join(METHODS)}")
    return SIZED[method](model, size, seed)


def tuning_report(model: nn.Module) -> ParamReport:
    """Parameter counts of a model that a method has prepared, head told apart."""
    return param_report(model, head=find_head(model), added=ADDED)


def matched_size(model: nn.Module, method: str, parameters: int, *, largest: int = 4096) -> int:
    """The smallest size at which a method trains at least so many parameters beside the head.

    A rival of this size is never beaten for want of parameters. 1 for methods without a size.

    Args:
        model: the pretrained network; it stays as it is.
        method: one of ``METHODS``.
        parameters: what to reach.
        largest: give up beyond it.

    Raises:
        ValueError: an unknown method, one that the model cannot take, or no size reaches it.
    """
    if method not in SIZED:
        apply_method(copy.deepcopy(model), method)
        return 1
    for size in range(1, largest + 1):
        if tuning_report(SIZED[method](copy.deepcopy(model), size, 0)).tuned >= parameters:
            return size
    raise ValueError(f"{method} trains fewer than {parameters} parameters at size {largest}")
