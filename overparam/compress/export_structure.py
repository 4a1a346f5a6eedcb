"""What a compressed model's modules have that the factory's do not.

The factory makes the dense network. Structured pruning changes settings of its modules (channels,
groups, heads), factoring puts other layers in their places, folding takes layers out. The
difference is a list of changes that the loader makes, in order, to a fresh network.
"""

import json
from typing import Any

import numpy as np
from torch import nn

Change = dict[str, Any]
INTERNAL = frozenset(vars(nn.Module()))
"""Attributes that every module has."""
ROOT = "model"
"""The path of the whole network in the list of changes."""


class CannotExport(ValueError):
    """A model can't be written so that it loads without this package; the message says why."""


def module_changes(model: nn.Module, reference: nn.Module) -> list[Change]:
    """The changes that make the modules of ``model`` out of those of ``reference``.

    Tensors are no part of it. Compared are, module by module, the class, the attributes that JSON
    can hold (numbers, strings, booleans, ``None``, and lists or tuples of them), parameters and
    buffers that became ``None``, names and order of the children, and which modules are one
    object in several places.

    Args:
        model: of plain layers.
        reference: what the factory makes.

    Returns:
        In the order in which they are to be made; each has a ``path`` and any of ``same`` (the
        path of the module that stands here too), ``class`` (a layer of ``torch.nn``), ``settings``
        and ``children``.

    Raises:
        CannotExport: a layer that takes another's place is not of ``torch.nn`` or holds what can't
            be written; modules that are one in the reference are several in the model.
    """
    walk = _Walk()
    walk.visit(ROOT, model, reference)
    return walk.changes


class _Walk:
    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.places: dict[int, tuple[str, nn.Module | None]] = {}
        self.taken: dict[int, str] = {}

    def visit(self, path: str, module: nn.Module, reference: nn.Module | None) -> None:
        """Compare one module and what is below it."""
        if id(module) in self.places:
            first, there = self.places[id(module)]
            if reference is None or reference is not there:
                self.changes.append({"path": path, "same": first})
            return
        if reference is not None and not _one_class(module, reference):
            reference = None
        self.places[id(module)] = (path, reference)
        change: Change = {"path": path}
        if reference is None:
            change["class"] = _layer_class(path, module)
        elif self.taken.setdefault(id(reference), path) != path:
            raise CannotExport(
                f"{_shown(path)} and {_shown(self.taken[id(reference)])} are one module in the "
                "factory's model and two in the compressed one"
            )
        settings = _settings(path, module, reference)
        old = {} if reference is None else reference._modules
        if settings:
            change["settings"] = settings
        if list(module._modules) != list(old):
            change["children"] = list(module._modules)
        if len(change) > 1:
            self.changes.append(change)
        for name, child in module._modules.items():
            if child is not None:
                self.visit(f"{path}.{name}", child, old.get(name))


def _one_class(module: nn.Module, other: nn.Module) -> bool:
    # By name: a class that the factory defines in its body is a new object in every call.
    one, two = type(module), type(other)
    return (one.__module__, one.__qualname__) == (two.__module__, two.__qualname__)


def _layer_class(path: str, module: nn.Module) -> str:
    name = type(module).__name__
    if getattr(nn, name, None) is not type(module):
        raise CannotExport(
            f"{_shown(path)} is a {type(module).__module__}.{name} and not what the factory makes "
            "there; allowed as a replacement are layers of torch.nn"
        )
    return name


def _settings(path: str, module: nn.Module, reference: nn.Module | None) -> dict[str, Any]:
    """Attributes to set; what is None in the model and was not before, with them."""
    own = {k: v for k, v in vars(module).items() if k not in INTERNAL}
    before = {} if reference is None else vars(reference)
    found = {}
    for name, value in own.items():
        written = _written(value)
        if written is None and value is not None:
            if reference is None or name not in before or _written(before[name]) is not None:
                raise CannotExport(
                    f"{_shown(path)}: attribute {name!r} is a {type(value).__name__}, which "
                    "model.json can't hold; allowed: numbers, strings and sequences of them"
                )
        elif name not in before or not _equal(before[name], written):
            found[name] = written
    return found | dict.fromkeys(_vanished(module, reference))


def _vanished(module: nn.Module, reference: nn.Module | None) -> list[str]:
    def members(of: nn.Module) -> dict[str, Any]:
        return of._parameters | of._buffers

    if reference is None:
        return [name for name, value in members(module).items() if value is None]
    gone = [
        name
        for name, value in members(reference).items()
        if value is not None and members(module).get(name) is None
    ]
    without = [
        name
        for name, child in module._modules.items()
        if child is None and reference._modules.get(name) is not None
    ]
    return gone + without


def _equal(before: Any, written: Any) -> bool:
    # As text, so that 1, 1.0 and True differ and NaN equals itself.
    old = _written(before)
    return (old is not None or before is None) and json.dumps(old) == json.dumps(written)


def _written(value: Any) -> Any:
    """The value as JSON, a tuple as ``{"tuple": [...]}``; ``None`` where there is no way."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        parts = [_written(part) for part in value]
        nested = any(isinstance(part, dict) for part in parts)
        lost = any(w is None and v is not None for w, v in zip(parts, value, strict=True))
        if lost or nested:
            return None
        return {"tuple": parts} if isinstance(value, tuple) else parts
    return None


def _shown(path: str) -> str:
    return path.removeprefix(ROOT).lstrip(".") or "the model"
