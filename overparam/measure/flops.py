"""Floating-point operations of one forward pass, counted on the operators that run."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from overparam.training.evaluating import evaluating


@dataclass(frozen=True)
class FlopCount:
    """Operations of a forward pass.

    Attributes:
        total: a multiplication and an addition count as two.
        by_operator: total of each operator that has a formula.
        operators: how many operators ran.
        uncounted: operators without a formula that read a matrix or a kernel among the parameters,
            with the number of times; lookups in a table are among them and cost nothing.
    """

    total: int
    by_operator: Mapping[str, int]
    operators: int
    uncounted: Mapping[str, int]


def count_flops(model: nn.Module, call: Callable[[], Any]) -> int:
    """The total of :func:`flop_count`."""
    return flop_count(model, call).total


def flop_count(model: nn.Module, call: Callable[[], Any]) -> FlopCount:
    """Count matrix products, convolutions and attention with ``torch.utils.flop_counter``.

    What works entry by entry (activations, norms, sums, pooling) has no formula and is not counted,
    as usual. Fused kernels that hide products (torch's fast path of transformer layers, fused
    attention, recurrent layers of oneDNN) are switched off for the count.

    Args:
        model: what runs; in eval mode meanwhile.
        call: runs it, e.g. ``lambda: model(x)`` with one sample.
    """
    kernels = {
        p.untyped_storage().data_ptr() for p in model.parameters() if p.ndim > 1 and p.numel()
    }
    counter = FlopCounterMode(display=False)
    with evaluating(model), _plain_kernels(), torch.no_grad(), counter, _Watch(kernels) as watch:
        call()
    totals = counter.get_flop_counts().get("Global", {})
    return FlopCount(
        total=counter.get_total_flops(),
        by_operator={str(operator): int(count) for operator, count in totals.items()},
        operators=watch.operators,
        uncounted=dict(sorted(watch.uncounted.items())),
    )


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, kernels: set[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernels = kernels
        self.operators = 0
        self.uncounted: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        view = any(value.alias_info is not None for value in func._schema.returns)
        if not view:
            self.operators += 1
            counted = func._overloadpacket in flop_registry
            if not counted and any(self._is_kernel(arg) for arg in args):
                self.uncounted[str(func._overloadpacket)] += 1
        return func(*args, **(kwargs or {}))

    def _is_kernel(self, value: Any) -> bool:
        if isinstance(value, list | tuple):
            return any(self._is_kernel(part) for part in value)
        return isinstance(value, Tensor) and value.untyped_storage().data_ptr() in self.kernels


@contextmanager
def _plain_kernels() -> Iterator[None]:
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            warnings.catch_warnings(action="ignore"),  # setting the flags warns of graphics cards
            torch.backends.mkldnn.flags(enabled=False),
            sdpa_kernel(SDPBackend.MATH),
        ):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
