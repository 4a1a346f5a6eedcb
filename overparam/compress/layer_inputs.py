"""What flows into the layers of a running model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from overparam.compress.registry import CannotTreat
from overparam.datasets import Inputs
from overparam.datasets.batches import parts_of
from overparam.training.evaluating import evaluating
from overparam.training.task import Forward, call_model


class _Seen(BaseException):
    """Ends a forward pass; no ``except Exception`` of the model's own code stops it."""


@torch.no_grad()
def call_counts(
    model: nn.Module, names: Sequence[str], batch: Inputs, forward: Forward = call_model
) -> dict[str, int]:
    """How often each of the named modules runs on one batch, in the order of their first calls.

    Names that do not run are left out. The projection at the end of an ``nn.MultiheadAttention``
    counts as run with it.
    """
    counts: dict[str, int] = {}

    def count(name: str, x: Tensor) -> None:
        counts[name] = counts.get(name, 0) + 1

    with _observed(model), _hooks() as keep:
        for name in names:
            keep(_on_inputs(model, name, partial(count, name)))
        forward(model, batch)
    return counts


@torch.no_grad()
def catch_inputs(
    model: nn.Module,
    counts: Mapping[str, int],
    batches: Sequence[Inputs],
    sink: Callable[[str, Tensor], None],
    forward: Forward = call_model,
) -> None:
    """Run all batches and hand ``sink(name, x)`` the input of each call of the named modules.

    A pass ends where all of them have run as often as ``counts`` says: what follows is not
    computed. Runs in eval mode; modes are as before afterwards.

    Args:
        model: contains the named modules.
        counts: name to number of calls in a pass, from :func:`call_counts`.
        batches: inputs of the model.
        sink: called inside of the pass.
        forward: runs the model on a batch.

    Raises:
        CannotTreat: a module that is not called with exactly one tensor.
    """
    left: dict[str, int] = {}

    def caught(name: str, x: Tensor) -> None:
        sink(name, x)
        left[name] -= 1
        if not any(count > 0 for count in left.values()):
            raise _Seen

    with _observed(model), _hooks() as keep:
        for name in counts:
            keep(_on_inputs(model, name, partial(caught, name)))
        for batch in batches:
            left.update(counts)
            try:
                forward(model, batch)
            except _Seen:
                continue


def input_of(
    model: nn.Module,
    name: str,
    calls: int,
    batches: Sequence[Inputs],
    forward: Forward = call_model,
) -> Tensor:
    """All inputs of one module over the batches, one below the other.

    Of a linear layer, rows (N, features).

    Raises:
        CannotTreat: a module that is not called with one tensor, or, other than a linear layer,
            with different shapes behind the first axis.
    """
    caught: list[Tensor] = []
    # Copies: after an input was caught the model may write into it.
    catch_inputs(model, {name: calls}, batches, lambda _, x: caught.append(x.clone()), forward)
    if isinstance(model.get_submodule(name), nn.Linear):
        return torch.cat([x.flatten(0, -2) for x in caught])
    shapes = {x.shape[1:] for x in caught}
    if len(shapes) > 1:
        raise CannotTreat(
            f"{name!r} is called with inputs of different shapes: "
            f"{', '.join(sorted(str(tuple(shape)) for shape in shapes))}"
        )
    return torch.cat(caught)


def check_batches(batches: Sequence[Inputs]) -> None:
    """Refuse with ``ValueError`` no batches at all, empty ones, and such with NaN or infinity."""
    if not batches:
        raise ValueError("calib holds no batch; at least one batch of inputs is needed")
    for number, batch in enumerate(batches):
        for part in parts_of(batch):
            if not isinstance(part, Tensor):
                raise ValueError(
                    f"batch {number} of calib holds a {type(part).__name__}; allowed are inputs "
                    "of the model, tensors without labels"
                )
            if not len(part):
                raise ValueError(f"batch {number} of calib is empty")
            if part.is_floating_point() and not bool(part.isfinite().all()):
                raise ValueError(f"batch {number} of calib has entries that are NaN or infinite")


def _on_inputs(model: nn.Module, name: str, sink: Callable[[Tensor], None]) -> RemovableHandle:
    layer = model.get_submodule(name)
    parent = model.get_submodule(name.rpartition(".")[0])
    if isinstance(parent, nn.MultiheadAttention) and layer is parent.out_proj:
        return parent.register_forward_pre_hook(
            lambda attention, args, kwargs: sink(_attended(attention, args, kwargs)),
            with_kwargs=True,
        )

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = [*args, *kwargs.values()]
        if len(given) != 1 or not isinstance(given[0], Tensor):
            raise CannotTreat(
                f"{name or 'the model'!r} is called with {len(given)} arguments; "
                "a block takes one tensor"
            )
        sink(_batched(module, given[0].detach()))

    return layer.register_forward_pre_hook(hook, with_kwargs=True)


@torch.no_grad()
def _attended(
    attention: nn.MultiheadAttention, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Tensor:
    # Attention calls no ``forward`` of its last projection: with the identity in its place, what
    # comes out is what goes into it.
    own = attention.out_proj
    width = own.in_features
    # Made without drawing initial values, which would move the global generator.
    identity = nn.Linear(width, width, device="meta").to_empty(device=own.weight.device)
    identity = identity.to(own.weight.dtype)
    identity.weight.copy_(torch.eye(width))
    identity.bias.zero_()
    attention._modules["out_proj"] = identity
    try:
        context = attention.forward(*args, **kwargs)[0]
    finally:
        attention._modules["out_proj"] = own
    return _batched(own, context)


def _batched(layer: nn.Module, x: Tensor) -> Tensor:
    axes = {nn.Linear: 2, nn.Conv1d: 3, nn.Conv2d: 4, nn.Conv3d: 5}
    need = next((n for kind, n in axes.items() if isinstance(layer, kind)), x.ndim)
    return x.unsqueeze(0) if x.ndim == need - 1 else x


@contextmanager
def _observed(model: nn.Module) -> Iterator[None]:
    # Eval mode, and attention without its fast path, which calls no layer's ``forward``.
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with evaluating(model):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextmanager
def _hooks() -> Iterator[Callable[[RemovableHandle], None]]:
    handles: list[RemovableHandle] = []
    try:
        yield handles.append
    finally:
        for handle in handles:
            handle.remove()
