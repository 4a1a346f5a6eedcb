"""Which tensors a file must hold, and where the loader has to put new ones."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from overparam.compress.export_structure import INTERNAL, ROOT, CannotExport, Change
from overparam.compress.load_model import change_module


class TensorLayout:
    """The tensors of a plain model, by name, as they stand to those of the factory's model.

    Attributes:
        tensors: each object once, under its first name.
        entries: for every name what the loader must know besides how the tensor is stored, in the
            order in which it works: ``same`` (the first name of an object that has several),
            ``fresh`` (the factory's model has no parameter of that size, or another object there),
            ``buffer`` (a new buffer; whether it is persistent).

    Args:
        model: plain.
        reference: what the factory makes.
        changes: those of :func:`module_changes`.

    Raises:
        CannotExport: a tensor that is neither parameter nor buffer differs from the factory's, or
            a parameter has become a buffer; names it.
    """

    def __init__(self, model: nn.Module, reference: nn.Module, changes: Sequence[Change]) -> None:
        root = nn.ModuleDict({ROOT: deepcopy(reference)})
        for change in changes:
            change_module(root, change)
        made = root[ROOT]
        _refuse_loose_tensors(model, made)
        self.tensors: dict[str, Tensor] = {}
        self.entries: dict[str, dict[str, Any]] = {}
        self._first: dict[int, str] = {}
        # What stands under a first name when the loader is done; None: an object of its own.
        self._kept: dict[str, Tensor | None] = {}
        before = named_tensors(made)
        lasting = model.state_dict(keep_vars=True)
        for name, tensor in lasting.items():
            self._add(name, tensor, before.get(name))
        for name, tensor in model.named_buffers(remove_duplicate=False):
            old = before.get(name)
            if name not in lasting and (old is None or not same_bits(tensor, old)):
                self._add(name, tensor, None, persistent=False)

    def _add(self, name: str, tensor: Tensor, old: Tensor | None, persistent: bool = True) -> None:
        first = self._first.setdefault(id(tensor), name)
        entry: dict[str, Any] = {}
        if first == name:
            claimed = any(old is kept for kept in self._kept.values() if kept is not None)
            fits = old is not None and (old.shape, old.dtype) == (tensor.shape, tensor.dtype)
            new = claimed or not fits
            self._kept[name] = None if new else old
            self.tensors[name] = tensor
        else:
            entry["same"] = first
            new = old is None or old is not self._kept[first]
        if old is not None and isinstance(old, nn.Parameter) != isinstance(tensor, nn.Parameter):
            raise CannotExport(f"{name} is a parameter in one model and a buffer in the other")
        if new:
            entry |= {"fresh": 1} if isinstance(tensor, nn.Parameter) else {"buffer": persistent}
        self.entries[name] = entry

    def first_name(self, tensor: Tensor) -> str:
        """The name under which a tensor is stored."""
        return self._first[id(tensor)]


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers under all their names."""
    found: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    return found | dict(model.named_buffers(remove_duplicate=False))


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether type, shape and every bit agree; NaN and the sign of zero count."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    first, second = (t.detach().cpu().contiguous().flatten() for t in (one, other))
    return torch.equal(first.view(torch.uint8), second.view(torch.uint8))


def _refuse_loose_tensors(model: nn.Module, made: nn.Module) -> None:
    others = dict(made.named_modules())
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name in INTERNAL or not isinstance(value, Tensor):
                continue
            other = vars(others[path]).get(name)
            if not isinstance(other, Tensor) or not same_bits(value, other):
                raise CannotExport(
                    f"{path or 'the model'}: attribute {name!r} is a tensor that is not what the "
                    "factory makes; register it as a buffer or a parameter"
                )
