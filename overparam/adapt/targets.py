"""Which modules a tuning method touches: name patterns, the head, what is frozen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from overparam.adapt.operations import CONVOLUTIONS, linear_of

Head = str | Sequence[str] | None
ADDED = ("ssf", "lora", "adapter", "prompts")
"""Names of the children that tuning methods add, for `param_report(model, added=ADDED)`."""

HEAD_NAMES = ("head", "classifier", "fc", "heads")


def match_modules(
    model: nn.Module, patterns: Iterable[str], kind: type[nn.Module] = nn.Module
) -> list[str]:
    """Return the names of modules of one kind that match any shell pattern, in model order.

    Args:
        model: the network to search.
        patterns: names with `*` and `?`, for instance `"blocks.*.attn.qkv"`.
        kind: modules of other classes do not count as matches.

    Raises:
        ValueError: a pattern matches nothing, which is nearly always a misspelling.
    """
    names = [name for name, module in model.named_modules() if name and isinstance(module, kind)]
    chosen: set[str] = set()
    for pattern in patterns:
        matches = [name for name in names if fnmatchcase(name, pattern)]
        if not matches:
            raise ValueError(
                f"pattern {pattern!r} matches no {kind.__name__}; there are "
                f"{', '.join(names[:12]) or 'none'}{', ...' if len(names) > 12 else ''}"
            )
        chosen.update(matches)
    return [name for name in names if name in chosen]


def find_head(model: nn.Module) -> str:
    """Return the name of the classification head.

    It is the last linear map inside the child called `head`, `classifier`, `fc` or `heads` (the
    first of these that exists and has one), else the last `nn.Linear` of the model.

    Raises:
        ValueError: the model has no linear map that could be a head.
    """
    for child_name in HEAD_NAMES:
        child = getattr(model, child_name, None)
        if isinstance(child, nn.Module):
            inside: list[str] = [
                name
                for name, module in child.named_modules(prefix=child_name)
                if isinstance(module, (nn.Linear, *CONVOLUTIONS))
            ]
            if inside:
                return inside[-1]
    linear: list[str] = [
        name for name, module in model.named_modules() if isinstance(module, nn.Linear)
    ]
    if not linear or linear[-1] == "":
        raise ValueError(
            f"{type(model).__name__} has no head that can be recognised; name it with head=..., "
            "or say head=None if it has none"
        )
    return linear[-1]


def resolve_heads(model: nn.Module, head: Head) -> tuple[str, ...]:
    """Return the names of the heads: recognised for "auto", else checked; empty for None.

    Raises:
        ValueError: no module has a given name, or none can be recognised for "auto".
    """
    if head is None:
        return ()
    if head == "auto":
        return (find_head(model),)
    names = (head,) if isinstance(head, str) else tuple(head)
    for name in names:
        if not name or name not in dict(model.named_modules()):
            raise ValueError(f"head={name!r} names no module of {type(model).__name__}")
    return names


def replace_head(
    model: nn.Module, classes: int, *, head: str = "auto", std: float = 0.02, seed: int = 0
) -> nn.Module:
    """Give a model a fresh linear head, in place, and return the model.

    Weights are drawn from N(0, std^2), biases are zero.

    Args:
        model: the network; its head must be an `nn.Linear`.
        classes: outputs of the new head, at least 1.
        head: the head's name, or "auto" to recognise it.
        std: standard deviation of the new weights.
        seed: seed of the new weights.

    Raises:
        ValueError: `classes` < 1, or the head is not an `nn.Linear`.
    """
    if classes < 1:
        raise ValueError(f"classes must be at least 1, got {classes}")
    (name,) = resolve_heads(model, head)
    old = model.get_submodule(name)
    if not isinstance(old, nn.Linear):
        raise ValueError(f"head={head!r} must be an nn.Linear, got {type(old).__name__}")
    weight = torch.randn(classes, old.in_features, generator=torch.Generator().manual_seed(seed))
    new = linear_of((weight * std).to(old.weight), torch.zeros(classes).to(old.weight))
    model.set_submodule(name, new.requires_grad_(True).train(old.training))
    return model


def freeze_except(model: nn.Module, trained: Iterable[Tensor]) -> None:
    """Let only the given parameters require gradients, so that autograd skips all others."""
    keep = {id(parameter) for parameter in trained}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in keep)


def head_parameters(model: nn.Module, head: Head = "auto") -> list[Tensor]:
    """Return the parameters of the head or heads; see `resolve_heads`."""
    names = resolve_heads(model, head)
    return [parameter for name in names for parameter in model.get_submodule(name).parameters()]
