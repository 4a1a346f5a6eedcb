"""The state of a long step, so that a killed run goes on where it was."""

import hashlib
import json
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from overparam.store.errors import StoreError
from overparam.store.files import Draft, entry_names, is_local, put
from overparam.store.store import Store

if TYPE_CHECKING:
    import torch

_INDEX = "checkpoint.json"


class Checkpoint:
    """Saves and restores a step's state in the store's scratch space.

    It lies under the key of the artifact that the step will make.

    A state is a nest of dicts (keys str or int), lists and tuples with tensors, NumPy arrays and
    scalars, str, int (of any size), float, bool and None: what `state_dict()` of modules and
    optimisers, `torch.Generator.get_state()` and `numpy.random.Generator.bit_generator.state` are
    made of. It comes back equal, bit for bit, tensors on the CPU. Tensors lie in a safetensors
    file that carries its hash in its name, the rest in a JSON file that names it and is replaced
    atomically: a kill at any moment leaves the previous state or the new one.
    """

    def __init__(self, store: Store, key: str) -> None:
        self._folder = store.scratch(key)

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state.

        Raises:
            TypeError: something in it can't be saved; says where.
            StoreError: not writable, no space left.
        """
        tensors: dict[str, torch.Tensor] = {}
        tree = _encode(state, "state", tensors)
        file = self._save_tensors(tensors) if tensors else None
        body = json.dumps({"tree": tree, "file": file})
        digest = hashlib.sha256(body.encode()).hexdigest()
        put(self._folder / _INDEX, json.dumps({"body": body, "sha256": digest}).encode())
        for name in entry_names(self._folder):
            if name.startswith("tensors-") and name != file:
                (self._folder / name).unlink(missing_ok=True)

    def load(self) -> dict[str, Any] | None:
        """The saved state; None if there is none, or, with a warning, if it is damaged."""
        try:
            text = (self._folder / _INDEX).read_bytes()
        except FileNotFoundError:
            return None
        try:
            index = json.loads(text)
            if hashlib.sha256(index["body"].encode()).hexdigest() != index["sha256"]:
                raise ValueError(f"{_INDEX} has other content than was written")
            body = json.loads(index["body"])
            tensors = {} if body["file"] is None else self._load_tensors(body["file"])
            state = _decode(body["tree"], tensors)
        except (
            ValueError,
            KeyError,
            TypeError,
            FileNotFoundError,
            RecursionError,
        ) as error:
            warnings.warn(
                f"checkpoint {self._folder} is damaged ({error}): the step starts anew",
                RuntimeWarning,
                stacklevel=2,
            )
            return None
        return dict(state)

    def clear(self) -> None:
        """Remove the saved state."""
        for name in sorted(entry_names(self._folder), key=lambda name: name != _INDEX):
            (self._folder / name).unlink(missing_ok=True)
        if is_local(self._folder) and self._folder.is_dir():
            self._folder.rmdir()

    def _save_tensors(self, tensors: dict[str, "torch.Tensor"]) -> str:
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        draft = Draft(self._folder, "tensors")
        try:
            save_file(tensors, draft.path)
            draft.finish()
            name = f"tensors-{draft.sha256}.safetensors"
            draft.commit(name)
        except SafetensorError as error:
            raise StoreError(f"{self._folder} can't be written to: {error}") from error
        finally:
            draft.discard()
        return name

    def _load_tensors(self, name: str) -> dict[str, "torch.Tensor"]:
        from safetensors import SafetensorError
        from safetensors.torch import load

        data = (self._folder / name).read_bytes()
        if name != f"tensors-{hashlib.sha256(data).hexdigest()}.safetensors":
            raise ValueError(f"{name} has other content than was written")
        try:
            return load(data)
        except SafetensorError as error:
            raise ValueError(str(error)) from None


def _encode(value: Any, where: str, tensors: dict[str, "torch.Tensor"]) -> Any:
    """`value` as JSON; each tensor goes to `tensors`, its name there stays in its place."""
    import numpy as np
    import torch

    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, torch.Tensor):
        return ["tensor", _stored(value, where, tensors)]
    if isinstance(value, np.ndarray | np.generic):
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        return [kind, _stored(_as_tensor(np.asarray(value), where), where, tensors)]
    if isinstance(value, Mapping):
        for key in value:
            if type(key) not in (str, int):
                raise TypeError(
                    f"{where}: key {key!r} is a {type(key).__name__}, allowed are str and int"
                )
        return [
            "dict",
            [[k, _encode(v, f"{where}[{k!r}]", tensors)] for k, v in value.items()],
        ]
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return [
            kind,
            [_encode(v, f"{where}[{i}]", tensors) for i, v in enumerate(value)],
        ]
    raise TypeError(
        f"{where} is a {type(value).__name__}, allowed are dict, list, tuple, tensor, NumPy array "
        f"and scalar, str, int, "
        "float, bool and None"
    )


def _stored(tensor: "torch.Tensor", where: str, tensors: dict[str, "torch.Tensor"]) -> str:
    import torch

    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
        raise TypeError(
            f"{where} is a {tensor.layout} tensor of {tensor.dtype}, allowed are dense real ones"
        )
    name = str(len(tensors))
    # a copy: safetensors refuses tensors that share memory, as tied weights do
    tensors[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    return name


def _as_tensor(array: Any, where: str) -> "torch.Tensor":
    import numpy as np
    import torch

    try:
        return torch.from_numpy(np.array(array))
    except TypeError:
        raise TypeError(
            f"{where} is an array of {array.dtype}, allowed are numbers and truth values"
        ) from None


def _decode(node: Any, tensors: Mapping[str, "torch.Tensor"]) -> Any:
    if not isinstance(node, list):
        return node
    kind, content = node
    if kind == "dict":
        return {key: _decode(value, tensors) for key, value in content}
    if kind in ("list", "tuple"):
        items = [_decode(item, tensors) for item in content]
        return items if kind == "list" else tuple(items)
    tensor = tensors[content]
    if kind == "tensor":
        return tensor
    return tensor.numpy() if kind == "array" else tensor.numpy()[()]
