"""Peak memory of the tensors that live during a forward pass: deterministic, unlike a process's."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from overparam.training.evaluating import evaluating


def peak_tensor_bytes(model: nn.Module, call: Callable[[], Any]) -> int:
    """Most bytes of tensors that are alive at once: parameters, buffers and what is computed.

    Each piece of memory counts once, whatever views look at it, until the last one is gone.
    Inputs, which the caller holds, do not count, nor does scratch memory within an operator.

    Args:
        model: what runs; in eval mode meanwhile, without gradients.
        call: runs it, e.g. ``lambda: model(x)``.
    """
    with evaluating(model), torch.no_grad(), _Live() as live:
        for tensor in [*model.parameters(), *model.buffers()]:
            live.see(tensor)
        call()
        return live.peak


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self.known: dict[int, weakref.ref[Any]] = {}

    def see(self, value: Tensor) -> None:
        """Count the memory of a tensor until it is gone, unless it is counted already."""
        storage = value.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            return

        def gone(_: Any) -> None:
            self.now -= size
            del self.known[key]

        self.known[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {t.untyped_storage()._cdata for t in _tensors(args) + _tensors(kwargs or {})}
        result = func(*args, **(kwargs or {}))
        # What an operator returns is new, or a view of something that counts already or never.
        for tensor in _tensors(result):
            if tensor.untyped_storage()._cdata not in given:
                self.see(tensor)
        return result


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for part in value for t in _tensors(part)] if isinstance(value, list | tuple) else []
