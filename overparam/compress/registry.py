"""Compressors by name: what a method needs is what its signature asks for.

A built-in method NAME is the function NAME in ``overparam/compress/methods/NAME.py``; an installed
package adds one by an entry point of the group ``overparam.compressors``; a user's own file is
named ``+path/to/file.py:function``. All three are marked by :func:`compressor` and have one shape::

    @compressor("Keep the largest weights of all layers together.")
    def magnitude(model: nn.Module, *, ratio: float) -> nn.Module: ...
"""

import difflib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from overparam.compress.weights import COMPRESSIBLE, compressible_weights
from overparam.study.loading import load_object

GROUP = "overparam.compressors"
HANDED_IN = ("ratio", "bits", "data", "task", "seed", "recipe", "initial")
"""What a compressor can ask for: keyword-only parameters of these names.

``recipe`` is that of fine-tuning; with ``initial``, the network before it was trained, that of the
dense training.
"""

Function = TypeVar("Function", bound=Callable[..., nn.Module])


class CannotTreat(ValueError):
    """A method can do nothing for this model; the message is the reason that the report shows."""


class LeftAlone(UserWarning):
    """A method leaves some layers as they are; the message names them and says why."""


@dataclass(frozen=True)
class Method:
    """A compressor and what it needs.

    Attributes:
        function: ``(model, *, ...) -> model``; the model handed in is not changed.
        summary: what it does, in one sentence.
        needs: the names of :data:`HANDED_IN` that it takes.
        finetune: whether its result is to be fine-tuned; otherwise it is final.
    """

    function: Callable[..., nn.Module]
    summary: str
    needs: tuple[str, ...]
    finetune: bool

    def __call__(self, model: nn.Module, **handed_in: Any) -> nn.Module:
        """Compress ``model`` with what the method needs of ``handed_in``."""
        return self.function(model, **{name: handed_in[name] for name in self.needs})


def compressor(summary: str, *, finetune: bool = True) -> Callable[[Function], Function]:
    """Mark a function as a compressor.

    Args:
        summary: what it does, in one sentence.
        finetune: whether its result is to be fine-tuned; methods that train by themselves and
            post-training quantisation are final.

    Raises:
        TypeError: the function does not take one positional model and keyword-only parameters of
            :data:`HANDED_IN`; the parameter is named.
    """

    def mark(function: Function) -> Function:
        parameters = list(inspect.signature(function).parameters.values())
        if not parameters or parameters[0].kind is not parameters[0].POSITIONAL_OR_KEYWORD:
            raise TypeError(f"{function.__qualname__} must take the model first")
        for parameter in parameters[1:]:
            if parameter.kind is not parameter.KEYWORD_ONLY or parameter.name not in HANDED_IN:
                raise TypeError(
                    f"{function.__qualname__}: parameter {parameter.name!r}; allowed after the "
                    f"model are keyword-only {', '.join(HANDED_IN)}"
                )
        needs = tuple(parameter.name for parameter in parameters[1:])
        function.__dict__["compressor"] = Method(function, summary, needs, finetune)
        return function

    return mark


def method_names() -> list[str]:
    """All that are installed: built in and added by entry points, sorted."""
    folder = Path(__file__).with_name("methods")
    built_in = {file.stem for file in folder.glob("*.py") if not file.stem.startswith("_")}
    return sorted(built_in | _added().keys())


def method_place(name: str) -> str:
    """Where a method is written: ``package.module:function`` or ``path/to/file.py:function``.

    Raises:
        ValueError: there is no such method; the nearest names are given.
    """
    if name.startswith("+"):
        return name[1:]
    if name in _added():
        return _added()[name]
    if name not in method_names():
        close = difflib.get_close_matches(name, method_names(), n=3)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise ValueError(
            f"unknown method {name!r}; {hint}methods: {', '.join(method_names())}; "
            "your own: +path/to/file.py:function"
        )
    return f"overparam.compress.methods.{name}:{name}"


@cache
def _added() -> dict[str, str]:
    """The methods of installed packages, by name: looking them up reads every package's files."""
    return {point.name: point.value for point in entry_points(group=GROUP)}


def load_method(name: str) -> Method:
    """Load a method by its name.

    Importing a user's file runs its code.

    Raises:
        ValueError: there is no such method, or what the name leads to is no compressor.
        ImportError: the module or file does not import.
    """
    found = load_object(method_place(name))
    method = getattr(found, "compressor", None)
    if not isinstance(method, Method):
        raise ValueError(f"{name!r} is not marked by @compressor (overparam.compress.compressor)")
    return method


def parameter_budget(model: nn.Module, ratio: float) -> int:
    """How many parameters may stay: round(P / ratio) of P, tied ones counted once.

    Raises:
        ValueError: ratio <= 1.
    """
    if not ratio > 1:
        raise ValueError(f"ratio is {ratio}; allowed > 1")
    return round(sum(parameter.numel() for parameter in model.parameters()) / ratio)


def kept_weights(model: nn.Module, ratio: float) -> int:
    """How many compressible weights may stay when all parameters shrink by ``ratio``.

    With P parameters in all (tied ones once) and n compressible weights among them, P / ratio may
    stay; the P - n others (biases, norms) stay in any case.

    Args:
        model: dense.
        ratio: dense parameters / non-zeros kept, > 1.

    Returns:
        round(P / ratio) - (P - n), in 1..n.

    Raises:
        ValueError: ratio <= 1.
        CannotTreat: what can't be pruned is more than P / ratio already.
    """
    budget = parameter_budget(model, ratio)
    total = sum(parameter.numel() for parameter in model.parameters())
    slots = compressible_weights(model)
    weights = sum(slot.size for slot in slots)
    kept = budget - (total - weights)
    if kept < 1:
        others = untouched_layers(model, {layer for slot in slots for layer in slot.layers})
        raise CannotTreat(
            f"ratio {ratio:g} leaves {total / ratio:.0f} of {total} parameters, but "
            f"{total - weights} can't be pruned: {', '.join([*others, 'biases, norms'])}"
        )
    return kept


def untouched_layers(model: nn.Module, treated: Iterable[str] = ()) -> list[str]:
    """Layers of torch and bare parameters that hold a matrix or a kernel, besides those treated.

    Example:
        >>> untouched_layers(nn.Sequential(nn.GRU(2, 3), nn.Linear(3, 1).requires_grad_(False)))
        ['0 (GRU)', '1 (frozen Linear)']
    """
    known, found = set(treated), list[str]()
    for path, module in model.named_modules():
        own = [name for name, p in module.named_parameters(recurse=False) if p.ndim > 1]
        if not own or path in known:
            continue
        kind = type(module)
        if not kind.__module__.startswith("torch.nn."):
            found += [f"{path}.{name}" if path else name for name in own]
            continue
        trained = any(p.requires_grad for p in module.parameters(recurse=False) if p.ndim > 1)
        frozen = isinstance(module, COMPRESSIBLE) and not trained
        found.append(f"{path or 'the model'} ({'frozen ' if frozen else ''}{kind.__name__})")
    return found
