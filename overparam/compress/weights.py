"""Which weight tensors of a model a compressor may touch, and how they are named."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from torch import Tensor, nn

COMPRESSIBLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Embedding)


@dataclass(frozen=True)
class WeightSlot:
    """One weight tensor, seen once however often the model uses it.

    Attributes:
        name: first name of the tensor, e.g. ``"0.weight"``; keys of scores and masks.
        aliases: every name it is used under (more than one for tied weights), ``name`` first.
        shape: its shape.
        table: whether it is the table of an ``nn.Embedding``.
        padding_row: the ``padding_idx`` of an embedding, whose row stays zero.
    """

    name: str
    aliases: tuple[str, ...]
    shape: tuple[int, ...]
    table: bool = False
    padding_row: int | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the modules that use the tensor."""
        return tuple(alias.rpartition(".")[0] for alias in self.aliases)

    @property
    def mask(self) -> str:
        """Name of the buffer that masks the tensor in a pruned model."""
        return f"{self.name}_mask"

    @property
    def size(self) -> int:
        """Number of entries."""
        return prod(self.shape)


def compressible_weights(
    model: nn.Module, *, min_params: int = 0, skip: Iterable[str] = ()
) -> list[WeightSlot]:
    """The weights of Linear, Conv1d/2d/3d and Embedding layers, in the order of the modules.

    Biases, normalisation layers and frozen tensors (``requires_grad=False``) are not among them.

    Args:
        model: any module; tensors tied together (one ``Parameter`` under several names) get one
            slot.
        min_params: leave out tensors with fewer entries.
        skip: names of modules (with all below them) or of weights to leave out.

    Raises:
        TypeError: ``model`` is no module, ``skip`` is a bare string, or a weight is not of a real
            floating type.
        ValueError: no weight is left, a name in ``skip`` matches nothing, a weight is not
            initialised yet, computed by a foreign parametrisation, tied to a tensor that stays
            outside, or overlaps another one in memory without being the same ``Parameter``.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if isinstance(skip, str):
        raise TypeError(f"skip must be a collection of names, got the string {skip!r}")
    candidates = {
        f"{prefix}.weight" if prefix else "weight": module
        for prefix, module in model.named_modules()
        if isinstance(module, COMPRESSIBLE) and getattr(module, "weight", None) is not None
    }
    skipped = _skipped(candidates, tuple(skip))
    found: dict[int, WeightSlot] = {}
    for name, module in candidates.items():
        if name in skipped:
            continue
        leaf = _leaf(name, module)
        _check_dtype(name, leaf)
        if leaf.numel() < min_params or not leaf.requires_grad:
            continue
        known = found.get(id(leaf))
        table = isinstance(module, nn.Embedding)
        padding = module.padding_idx if isinstance(module, nn.Embedding) else None
        if known is None:
            found[id(leaf)] = WeightSlot(name, (name,), tuple(leaf.shape), table, padding)
        else:
            found[id(leaf)] = WeightSlot(
                known.name,
                (*known.aliases, name),
                known.shape,
                known.table and table,
                known.padding_row if known.padding_row is not None else padding,
            )
    slots = list(found.values())
    if not slots:
        raise ValueError(
            "model has no weight to compress: it needs a trainable Linear, Conv1d/2d/3d or "
            f"Embedding weight of {max(min_params, 1)} or more entries; skipped: {sorted(skipped)}"
        )
    _check_ties(model, found)
    return slots


def _skipped(candidates: Iterable[str], skip: tuple[str, ...]) -> set[str]:
    skipped: set[str] = set()
    for entry in skip:
        hit = {name for name in candidates if name == entry or name.startswith(entry + ".")}
        if not hit:
            raise ValueError(
                f"skip names {entry!r}, which matches no weight; allowed {list(candidates)}"
            )
        skipped |= hit
    return skipped


def _leaf(name: str, module: nn.Module) -> nn.Parameter:
    leaf = dict(module.named_parameters(recurse=False)).get("weight")
    if leaf is None:
        raise ValueError(f"{name!r} is computed from other tensors; skip it or make it plain first")
    if isinstance(leaf, nn.UninitializedParameter):
        raise ValueError(f"{name!r} is not initialised yet: run the model once before")
    return leaf


def count_weights(model: nn.Module) -> int:
    """Entries of all :func:`compressible_weights`, which raises what this raises."""
    return sum(slot.size for slot in compressible_weights(model))


def _check_dtype(name: str, leaf: Tensor) -> None:
    if not leaf.is_floating_point():
        raise TypeError(f"{name!r} has dtype {leaf.dtype}; allowed are real floating types")


def _check_ties(model: nn.Module, found: dict[int, WeightSlot]) -> None:
    extent: list[tuple[int, int, str]] = []
    for name, parameter in model.named_parameters(remove_duplicate=False):
        slot = found.get(id(parameter))
        if slot is None:
            canonical = name
        else:
            canonical = slot.name
            if name not in slot.aliases:
                raise ValueError(
                    f"{slot.name!r} is tied to {name!r}, which stays outside; skip both or neither"
                )
        if not parameter.is_meta and parameter.numel():
            start = parameter.data_ptr()
            extent.append((start, start + parameter.numel() * parameter.element_size(), canonical))
    covered = {slot.name for slot in found.values()}
    extent.sort()
    for (_, stop, first), (start, _, second) in pairwise(extent):
        if start < stop and first != second and {first, second} & covered:
            raise ValueError(
                f"{first!r} and {second!r} share memory without being one Parameter; tie them by "
                "assigning the same Parameter, or skip them"
            )
