"""Load a compressed model with torch and safetensors alone: ``model = load(factory, folder)``."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn


def load(factory: Any, folder: str | Path) -> nn.Module:
    """The model in eval mode; ``factory`` makes the network as it was before compression."""
    spec = json.loads(Path(folder, "model.json").read_text("utf-8"))
    stored, root = load_file(Path(folder, "model.safetensors")), nn.ModuleDict({"model": factory()})
    for change in spec["modules"]:
        change_module(root, change)
    model, find, state = root["model"], root["model"].get_submodule, dict[str, Tensor]()
    for name, entry in spec["tensors"].items():
        same, (path, _, leaf) = entry.get("same"), name.rpartition(".")
        state[name] = tensor = state[same] if same else decode(name, entry, stored)
        if "buffer" in entry:  # new or of another size
            find(path).register_buffer(leaf, tensor, persistent=entry["buffer"])
        elif "fresh" in entry:
            setattr(find(path), leaf, model.get_parameter(same) if same else nn.Parameter(tensor))
    lasting = {n: state[n] for n, entry in spec["tensors"].items() if entry.get("buffer", True)}
    model.load_state_dict(lasting)  # strict: names what is missing, unexpected or does not fit
    return model.eval()


def change_module(root: nn.Module, change: dict[str, Any]) -> None:
    parent, _, leaf = change["path"].rpartition(".")
    if "same" in change:  # one module in several places
        setattr(root.get_submodule(parent), leaf, root.get_submodule(change["same"]))
    if "class" in change:  # another layer
        setattr(root.get_submodule(parent), leaf, nn.Identity())
        root.get_submodule(change["path"]).__class__ = getattr(nn, change["class"])
    module = root.get_submodule(change["path"])
    for name, value in change.get("settings", {}).items():
        setattr(module, name, tuple(value["tuple"]) if isinstance(value, dict) else value)
    if "children" in change:
        module._modules = {name: module._modules.get(name) for name in change["children"]}


def decode(name: str, entry: dict[str, Any], stored: dict[str, Tensor]) -> Tensor:
    shape, values, scale = torch.Size(entry["shape"]), stored[entry.get("bank", name)], None
    if "bank" in entry:
        return _shared(entry, values).view(shape)
    zero = values.new_zeros(1).expand(shape.numel())
    if "bits" in entry:  # (code - zero) * scale, both for each group of neighbours in a row
        values, group = _unpack(values, entry["bits"])[: entry["count"]], entry["group"]
        wide = (stored[f"{name}:{p}"].repeat_interleave(group, 1) for p in ("zero", "scale"))
        zero, scale = (w[:, : shape[1:].numel()].expand(shape[0], -1).flatten() for w in wide)
    if "steps" in entry:  # how many zeros to step over before each value
        steps = _unpack(stored[f"{name}:steps"], entry["steps"])
        ends = steps < 2 ** entry["steps"] - 1  # all bits set: so many zeros, and more to come
        places = (steps.long() + ends).cumsum(0)[ends] - 1
        values = zero.index_put((places[: len(values)],), values)
    values = values if scale is None else (values.to(scale.dtype) - zero.to(scale.dtype)) * scale
    return values.view(shape)


def _unpack(packed: Tensor, bits: int) -> Tensor:
    stream = (packed[:, None] >> torch.arange(8, dtype=torch.uint8) & 1).flatten()
    codes = stream[: len(stream) // bits * bits].view(-1, bits)
    return (codes << torch.arange(bits, dtype=torch.uint8)).sum(1, dtype=torch.uint8)


def _shared(entry: dict[str, Any], bank: Tensor) -> Tensor:
    (height, width), r, s = entry["tile"], entry["hash"], entry["sign"]
    p, position = 2038074743, torch.arange(torch.Size(entry["shape"]).numel())
    row, column = position // entry["columns"], position % entry["columns"] + entry["shift"]
    tile = entry["first"] + row // height * entry["across"] + column // width
    start = (tile * r[0] % p + tile * tile % p * r[1] % p + r[2]) % p % entry["starts"]
    bits = (position + s[0]) * s[1]
    bits = (bits ^ bits >> 29) * s[2]
    scale = (1 - 2 * ((bits ^ bits >> 32) >> 17 & 1)).to(bank.dtype) * entry["scale"]
    scale[slice(*entry["padding"])] = 0  # a row of an embedding
    return bank[(start + row % height * width + column % width) % len(bank)] * scale
