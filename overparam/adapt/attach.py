"""Add a small module to an operation without replacing the operation.

The addition becomes a child of the module that it follows and runs in a forward hook. Class tree,
attribute access (`layer.weight`) and the base's state-dict keys stay as they were, which a wrapper
module would break; hooks survive `deepcopy`, `functional_call` and `vmap`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

Hook = Callable[..., Any]


def attach(module: nn.Module, name: str, child: nn.Module, hook: Hook) -> None:
    """Register `child` under `name` and run `hook(module, args, output)` after the module.

    Raises:
        RuntimeError: the module already has something of that name.
    """
    if hasattr(module, name):
        raise RuntimeError(f"{type(module).__name__} already has a {name!r}; remove it first")
    module.add_module(name, child)
    module.register_forward_hook(hook)


def attach_before(module: nn.Module, name: str, child: nn.Module, hook: Hook) -> None:
    """Register `child` under `name` and run `hook(module, args)` before the module.

    Raises:
        RuntimeError: the module already has something of that name.
    """
    if hasattr(module, name):
        raise RuntimeError(f"{type(module).__name__} already has a {name!r}; remove it first")
    module.add_module(name, child)
    module.register_forward_pre_hook(hook)


def detach(module: nn.Module, name: str, hook: Hook) -> None:
    """Undo `attach`: forget the child and the hook."""
    delattr(module, name)
    for key in [key for key, known in module._forward_hooks.items() if known is hook]:
        del module._forward_hooks[key]


def check_alone(name: str, module: nn.Module, own: str) -> None:
    """Refuse to fold one of several additions: what came before it in the chain would be lost.

    Raises:
        RuntimeError: the operation carries another child besides `own`.
    """
    others = [child for child, _ in module.named_children() if child != own]
    if others:
        raise RuntimeError(
            f"{name!r} also carries {others[0]!r}, and folding {own!r} past it is not exact; "
            "merge each before the next is injected"
        )
