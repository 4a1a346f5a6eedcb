"""The user's weights: a safetensors file or a state dict, read without unpickling objects."""

import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
NESTED = ("state_dict", "model_state_dict", "model_state", "model")
"""Names under which training scripts put the state dict beside other things."""

SHOWN = 5


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read named tensors.

    Args:
        path: ``.safetensors``, or a state dict saved by ``torch.save`` (``.pt``, ``.pth``,
            ``.bin``), which is read with ``weights_only=True``: nothing in it is run. A state dict
            that lies under ``state_dict`` or ``model`` in a checkpoint is found there, and a
            prefix ``module.`` on all names (data-parallel training) is taken off.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another suffix, a damaged file, one that holds more than tensors, or no tensor.
    """
    file = Path(path)
    if file.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{file}: suffix {file.suffix!r}; allowed: {', '.join(SUFFIXES)}")
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    if file.suffix.lower() == ".safetensors":
        try:
            state = dict(load_file(file))
        except SafetensorError as error:
            raise ValueError(f"{file}: not a whole safetensors file: {error}") from error
    else:
        state = _from_torch(file)
    if not state:
        raise ValueError(f"{file} holds no tensor")
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load a file of weights into a model; every tensor of the model must be there and fit.

    Args:
        model: changed in place.
        path: see :func:`read_state_dict`.

    Raises:
        ValueError: tensors that are missing, unknown, or of another shape; names and shapes are
            listed. The model is then as before.
        FileNotFoundError: there is no such file.
    """
    state = read_state_dict(path)
    own = model.state_dict()
    missing = [name for name in own if name not in state]
    unknown = [name for name in state if name not in own]
    unfit = [
        f"{name} is {tuple(state[name].shape)}, the model wants {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    troubles = [
        f"{what}: {_listed(names)}"
        for what, names in (
            ("missing", missing),
            ("not in the model", unknown),
            ("another shape", unfit),
        )
        if names
    ]
    if troubles:
        raise ValueError(f"{path} does not fit the model; {'; '.join(troubles)}")
    model.load_state_dict(state)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _why(error: Exception) -> str:
    """What torch complains of, without its advice to trust the file."""
    objects = re.search(r"GLOBAL (\S+)", str(error))
    if objects is not None:
        return f"it holds a {objects[1]}, an object and no tensor"
    return str(error).partition("\n")[0].partition(". ")[0]


def _from_torch(file: Path) -> dict[str, Tensor]:
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = _why(error)
        raise ValueError(
            f"{file} can't be read with weights_only=True ({reason}); save model.state_dict() alone"
        ) from error
    for name in NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
            break
    if not isinstance(found, Mapping):
        raise ValueError(f"{file} holds a {type(found).__name__}; allowed: a state dict")
    odd = [str(name) for name, value in found.items() if not isinstance(value, Tensor)]
    if odd:
        raise ValueError(
            f"{file} holds more than tensors ({', '.join(odd[:SHOWN])}); save model.state_dict() "
            "alone"
        )
    return dict(found)
