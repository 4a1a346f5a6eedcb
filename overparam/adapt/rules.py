"""Where pairs go: named families, any function of the module, and what an insertion refuses."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Literal

from torch import nn

from overparam.adapt.operations import FOLDABLE, check_plain_parameters, declared_axis
from overparam.adapt.probe import probe_axis
from overparam.adapt.targets import Head, resolve_heads

Family = Literal["generic", "vit", "convnext", "swin", "mlp"]
Rule = Family | Callable[[str, nn.Module], bool]

_BLOCK = r"blocks\.\d+\."
_STAGE = r"(stages|layers)\.\d+\."
_FEED_FORWARD = r"mlp(_tokens)?\.fc[12]"
_ATTENTION_BLOCK = rf"{_BLOCK}(norm1|attn\.qkv|attn\.proj|norm2|{_FEED_FORWARD})"

# Names as in timm. Lian et al. 2022, section 3.2 and models/ of the authors' code.
FAMILIES: dict[str, re.Pattern[str]] = {
    "generic": re.compile(r".*"),
    "vit": re.compile(rf"patch_embed\.(proj|norm)|{_ATTENTION_BLOCK}|norm|fc_norm"),
    "swin": re.compile(
        rf"patch_embed\.(proj|norm)|{_STAGE}{_ATTENTION_BLOCK}"
        rf"|{_STAGE}downsample\.(norm|reduction)|norm|head\.norm"
    ),
    "convnext": re.compile(
        rf"stem\.[01]|{_STAGE}{_BLOCK}(conv_dw|norm|{_FEED_FORWARD})"
        rf"|{_STAGE}downsample\.[01]|norm_pre|norm|head\.norm"
    ),
    "mlp": re.compile(rf"stem(\.proj)?|{_BLOCK}(norm[12]?|{_FEED_FORWARD})|norm"),
}


def insertion_points(
    model: nn.Module,
    rules: Rule = "generic",
    exclude: Iterable[str] = (),
    *,
    head: Head = "auto",
    axes: Mapping[type[nn.Module], int] | None = None,
) -> dict[str, int]:
    """Return `{module name: channel axis}` for every operation that a pair will follow.

    Only `nn.Linear`, `nn.ConvNd`, `nn.ConvTransposeNd`, `nn.LayerNorm`, `nn.BatchNormNd` and
    `nn.GroupNorm` (and their subclasses) are considered, so that no pair follows a nonlinearity or
    a softmax and each can be folded away.

    Args:
        model: the network.
        rules: "generic" for every such operation except the head; "vit", "convnext", "swin",
            "mlp" for the paper's places, by timm's names; or a function of name and module.
        exclude: shell patterns of names that get no pair, for instance `"blocks.0.*"`.
        head: name or names of what is trained anyway, "auto" to recognise it, None for none.
        axes: channel axis of the output of custom classes; it also vouches that the class uses
            `weight` and `bias` as its torch parent does.

    Raises:
        ValueError: nothing matches; an `exclude` pattern matches nothing; an operation shares its
            weight with another one; its weight is computed; it overrides its parent's computation
            and neither `axes`, a class attribute `channel_axis`, nor a probe tells the axis; it
            belongs to `nn.MultiheadAttention`, which reads its weights without calling it.

    Warns:
        UserWarning: the function chooses the head, which is trained anyway.
    """
    if isinstance(rules, str) and rules not in FAMILIES:
        raise ValueError(f"rules={rules!r}; known are {', '.join(FAMILIES)} or a function")
    heads = resolve_heads(model, head)
    candidates = {name: m for name, m in model.named_modules() if isinstance(m, FOLDABLE)}
    excluded = _excluded(candidates, exclude)
    if isinstance(rules, str):
        pattern = FAMILIES[rules]
        chosen = [n for n in candidates if n not in heads and pattern.fullmatch(n)]
    else:
        chosen = [name for name, module in candidates.items() if rules(name, module)]
        paired_heads = [name for name in heads if name in chosen and name not in excluded]
        if paired_heads:
            warnings.warn(
                f"the rule puts a pair after the head {paired_heads[0]!r}; the head is trained "
                "anyway, so the pair adds nothing",
                UserWarning,
                stacklevel=3,
            )
    chosen = [name for name in chosen if name not in excluded]
    if not chosen:
        raise ValueError(
            f"rules={rules!r} match no operation of {type(model).__name__} (head {heads}, "
            f"exclude {tuple(exclude)}); operations: {', '.join(candidates) or 'none'}"
        )
    check_not_shared(model, chosen)
    _check_not_read_by_attention(model, chosen)
    found = {name: _axis(name, candidates[name], axes) for name in chosen}
    unknown = [name for name, axis in found.items() if axis is None]
    if unknown:
        kinds = sorted({type(candidates[name]).__name__ for name in unknown})
        raise ValueError(
            f"{len(unknown)} operations ({', '.join(unknown[:8])}{', ...' * (len(unknown) > 8)}) "
            f"have their own forward ({', '.join(kinds)}), and a pair after them does not fold "
            "exactly on any axis; exclude them, or declare the channel axis of their output with "
            f"axes={{{kinds[0]}: axis}}"
        )
    return {name: axis for name, axis in found.items() if axis is not None}


def check_not_shared(model: nn.Module, names: Iterable[str]) -> None:
    """Refuse operations whose parameters another module uses as well.

    A pair folds into the weight of its own operation; a second user of that weight would be
    changed with it.

    Raises:
        ValueError: naming both users.
    """
    chosen = set(names)
    users: dict[int, str] = {}
    for name, module in model.named_modules():
        for key, parameter in module._parameters.items():
            if parameter is None:
                continue
            other = users.setdefault(id(parameter), name)
            if other != name and (other in chosen or name in chosen):
                raise ValueError(
                    f"{other!r} and {name!r} share their {key}, so one pair cannot fold into it "
                    "without changing the other; exclude both, or untie them first"
                )


def _excluded(candidates: Iterable[str], patterns: Iterable[str]) -> set[str]:
    if isinstance(patterns, str):
        raise TypeError(f"exclude is a sequence of patterns, got the string {patterns!r}")
    excluded: set[str] = set()
    for pattern in patterns:
        matches = {name for name in candidates if fnmatchcase(name, pattern)}
        if not matches:
            raise ValueError(f"exclude pattern {pattern!r} matches no operation")
        excluded |= matches
    return excluded


def _check_not_read_by_attention(model: nn.Module, chosen: Iterable[str]) -> None:
    for name in chosen:
        parent = model.get_submodule(name.rpartition(".")[0])
        if isinstance(parent, nn.MultiheadAttention):
            raise ValueError(
                f"{name!r} belongs to nn.MultiheadAttention, which reads its weight without "
                "calling it, so a pair would have no effect; call separate_attention(model) first"
            )


def _axis(name: str, module: nn.Module, axes: Mapping[type[nn.Module], int] | None) -> int | None:
    check_plain_parameters(name, module)
    axis = declared_axis(module, axes)
    return probe_axis(module) if axis is None else axis
