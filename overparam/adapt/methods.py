"""The tuning methods by name, and rivals of equal size."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

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


def prepared_members(
    models: Sequence[nn.Module],
    method: str,
    seeds: Sequence[int],
    *,
    size: int | None = None,
    rival: str = "ssf",
) -> list[nn.Module]:
    """Copies of pretrained models of one architecture, prepared for tuning by a method.

    Args:
        models: with the head of the new task; they stay as they are.
        method: one of ``METHODS``.
        seeds: one per model, the start of what is added.
        size: of ``SIZED`` methods; by default the :func:`matched_size` at which the method trains
            at least as many parameters as its rival.
        rival: one of ``METHODS``.

    Raises:
        ValueError: no models, not one seed per model, and what :func:`apply_method` and
            :func:`matched_size` refuse.
    """
    if not models or len(seeds) != len(models):
        raise ValueError(f"{len(seeds)} seeds for {len(models)} models; needed: one each")
    if size is None:
        budget = tuning_report(apply_method(copy.deepcopy(models[0]), rival)).tuned
        size = matched_size(models[0], method, budget)
    return [
        apply_method(copy.deepcopy(model), method, size=size, seed=seed)
        for model, seed in zip(models, seeds, strict=True)
    ]
