"""Items of a map-style data set: inputs, how a model is called with them, and the target."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from overparam.datasets.own_samples import TARGET, Arrangement

LABELS = ("labels", "label", "target", "y")
INPUT = "x"
Array = NDArray[Any]


@dataclass(frozen=True)
class Item:
    """One sample: named inputs, how they are arranged, and the target."""

    inputs: dict[str, Array]
    arrangement: Arrangement
    target: Array

    @property
    def form(self) -> tuple[str, dict[str, tuple[tuple[int, ...], str]]]:
        """What all items of a data set have in common: arrangement, shapes, kinds of number."""
        kinds = {"b": "booleans", "i": "whole numbers", "u": "whole numbers", "f": "floats"}
        parts = {n: (a.shape, kinds[a.dtype.kind]) for n, a in self.inputs.items()}
        return self.arrangement, parts

    def described(self) -> str:
        """The form in words."""
        parts = self.form[1].items()
        return f"{self.arrangement} " + ", ".join(
            f"{name} {shape} of {kind}" for name, (shape, kind) in parts
        )


def read_item(where: str, data: Any, index: int) -> Item:
    """Item ``index`` of a data set.

    Args:
        where: names the data set in messages.
        data: has items ``(input, target)``, ``((inputs, ...), target)``,
            ``({name: input}, target)`` or ``{name: input, ..., "labels": target}``. A list of plain
            numbers is one input, one of arrays several.
        index: of the item.

    Raises:
        ValueError: reading it raises, or it is none of these, or holds no numbers.
    """
    where = f"{where}[{index}]"
    try:
        item = data[index]
    except Exception as error:
        raise ValueError(f"{where} raised {type(error).__name__}: {error}") from error
    if isinstance(item, Mapping):
        name = next((name for name in LABELS if name in item), None)
        if name is None:
            raise ValueError(f"{where} has no label; allowed names: {', '.join(LABELS)}")
        given, target = {key: value for key, value in item.items() if key != name}, item[name]
    elif isinstance(item, tuple | list) and len(item) == 2:
        given, target = item
    else:
        raise ValueError(
            f"{where} is a {type(item).__name__}; allowed: (input, target) or a dict with a label"
        )
    arrangement: Arrangement = "tensor"
    if isinstance(given, tuple) or (isinstance(given, list) and any(map(is_array, given))):
        arrangement, given = "tuple", dict(enumerate(given))
    elif isinstance(given, Mapping):
        arrangement = "dict"
    else:
        given = {INPUT: given}
    if not given or TARGET in given:
        raise ValueError(
            f"{where} has the inputs {', '.join(map(str, given)) or 'none'}; allowed: at least "
            f"one, and none called {TARGET!r} beside the label"
        )
    inputs = {str(name): as_array(where, str(name), value) for name, value in given.items()}
    return Item(inputs, arrangement, as_array(where, TARGET, target))


def is_array(value: Any) -> bool:
    """Whether a value is a tensor or an array."""
    return isinstance(value, torch.Tensor | np.ndarray)


def as_array(where: str, name: str, value: Any) -> Array:
    """A value as an array of numbers.

    A tensor keeps its type. Python's and NumPy's floats, which are 64 bits wide unless someone says
    otherwise, become float32.

    Raises:
        ValueError: it holds no numbers, or a type that NumPy does not have.
    """
    if isinstance(value, torch.Tensor):
        try:
            return value.detach().cpu().numpy()
        except (TypeError, RuntimeError) as error:
            raise ValueError(f"{where}: {name} is {value.dtype}: {error}") from error
    try:
        found = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{where}: {name} is no array: {error}") from error
    if found.dtype.kind not in "biuf":
        raise ValueError(f"{where}: {name} is no numbers ({found.dtype})")
    return found.astype(np.float32) if found.dtype == np.float64 else found
