"""A compressed model as files that load without this package.

``model.safetensors`` holds the tensors, each stored by the codec that takes the fewest bytes and
reloads exactly; ``model.json`` says how, and what has changed in the modules; ``load_model.py`` is
the loader, a copy of :mod:`overparam.compress.load_model`.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from overparam.compress.export_check import check_reloads, refuse_other_state
from overparam.compress.export_codecs import Coded, Integers, dense, smallest
from overparam.compress.export_layout import TensorLayout, named_tensors
from overparam.compress.export_shared import shared_weights
from overparam.compress.export_structure import Change, module_changes
from overparam.compress.materialise import materialise
from overparam.compress.quantised_weight import QuantisedWeight, dequantise
from overparam.compress.shared_model import SharedModel

TENSORS, JSON, LOADER = "model.safetensors", "model.json", "load_model.py"


@dataclass(frozen=True)
class StoredTensor:
    """How one tensor is stored.

    Attributes:
        name: in the plain model.
        codec: ``dense``, ``sparse``, ``packed int8``, ``sparse+int4``, ``shared``, ...
        shape: its shape when loaded.
        bytes: of what is stored for it; 0 for all but the first of tensors that share a bank.
    """

    name: str
    codec: str
    shape: tuple[int, ...]
    bytes: int


@dataclass(frozen=True)
class Export:
    """An exported model.

    Attributes:
        format: the codec of most of the model, counted in bytes when loaded.
        bytes: of ``model.safetensors`` and ``model.json``.
        parameters: numbers that the model's parameters follow from; tied ones and the bank of
            shared parameters count once.
        nonzeros: those of them that are not zero.
        tensors: one for each tensor, tied ones once.
    """

    format: str
    bytes: int
    parameters: int
    nonzeros: int
    tensors: tuple[StoredTensor, ...]


def export_model(
    model: nn.Module,
    reference: nn.Module,
    folder: Path,
    *,
    outputs: Callable[[nn.Module], Tensor] | None = None,
) -> Export:
    """Write a model, load it again with the loader, and compare.

    Masks and integers stand for their exact values, shared parameters for their bank. Floats keep
    their type and all their bits. The files are never larger than with every tensor stored dense:
    both are made, and the smaller is written.

    Args:
        model: plain, masked, quantised, shared, structurally pruned, factored, or all of these;
            not changed.
        reference: what the factory makes, fresh; not changed.
        folder: made if missing; files of an earlier export are replaced.
        outputs: what a model gives for a few samples; if given, that of the loaded model is
            compared too.

    Raises:
        CannotExport: the model can't be written so that it loads from the factory's, or what was
            loaded differs from it; names the module or tensors. No file is left then.
    """
    plain = materialise(dequantise(model)).eval()
    refuse_other_state(plain)
    changes = module_changes(plain, reference)
    layout = TensorLayout(plain, reference, changes)
    plainly = {name: dense(name, tensor) for name, tensor in layout.tensors.items()}
    tried = [
        (ways, *_files(changes, layout, ways))
        for ways in (_smallest(model, plain, layout), plainly)
    ]
    coded, tensors, text = min(tried, key=lambda one: len(one[1]) + len(one[2]))
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / name for name in (TENSORS, JSON, LOADER)]
    files[0].write_bytes(tensors)
    files[1].write_bytes(text)
    shutil.copyfile(Path(__file__).with_name(LOADER), files[2])
    try:
        check_reloads(model, plain, reference, folder, outputs)
    except BaseException:
        for file in files:
            file.unlink()
        raise
    return _summary(plain, layout, coded, len(tensors) + len(text))


def _smallest(model: nn.Module, plain: nn.Module, layout: TensorLayout) -> dict[str, Coded]:
    """The smallest codec of each tensor, by its first name."""
    integers: dict[str, Integers] = {}
    shared: dict[str, Coded] = {}
    by_name = named_tensors(plain)

    def first(name: str) -> str:
        return layout.first_name(by_name[name])

    for path, module in _plain_paths(model):
        if isinstance(module, QuantisedWeight):
            for weight in module.quantised:
                name = first(f"{path}.{weight}" if path else weight)
                integers[name] = Integers(*module.integers(weight), module.bits, module.group)
        if isinstance(module, SharedModel):
            bank = shared_weights(module, path)
            # The bank is worth it or not for all its tensors together.
            alone = {first(n): smallest(first(n), by_name[n]) for n in bank}
            if sum(c.bytes for c in bank.values()) < sum(c.bytes for c in alone.values()):
                shared |= {first(n): c for n, c in bank.items()}
    return {
        name: smallest(name, tensor, integers.get(name)) for name, tensor in layout.tensors.items()
    } | shared


def _plain_paths(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """All modules with the paths they have once shared models are written out."""
    yield path, module
    if isinstance(module, SharedModel):
        yield from _plain_paths(module.skeleton, path)
        return
    for name, child in module.named_children():
        yield from _plain_paths(child, f"{path}.{name}" if path else name)


def _files(
    changes: list[Change], layout: TensorLayout, ways: Mapping[str, Coded]
) -> tuple[bytes, bytes]:
    stored: dict[str, Tensor] = {}
    entries: dict[str, dict[str, Any]] = {}
    for name, entry in layout.entries.items():
        if "same" in entry:
            entries[name] = entry
            continue
        entries[name] = {**ways[name].entry, **entry}
        # Cloned: safetensors takes no two tensors from one piece of memory.
        stored |= {n: t.cpu().contiguous().clone() for n, t in ways[name].stored.items()}
    text = "\n".join(
        [
            f'{{"format": {json.dumps(_format(layout, ways))},',
            '"modules": [',
            ",\n".join(map(json.dumps, changes)),
            '],\n"tensors": {',
            ",\n".join(f"{json.dumps(n)}: {json.dumps(entry)}" for n, entry in entries.items()),
            "}}\n",
        ]
    )
    return save(stored), text.encode()


def _format(layout: TensorLayout, ways: Mapping[str, Coded]) -> str:
    sizes: Counter[str] = Counter()
    for name, tensor in layout.tensors.items():
        sizes[ways[name].codec] += tensor.numel() * tensor.element_size()
    return max(sizes, key=lambda codec: sizes[codec], default="dense")


def _summary(
    plain: nn.Module, layout: TensorLayout, ways: Mapping[str, Coded], size: int
) -> Export:
    numbers: list[Tensor] = [
        parameter
        for name, parameter in layout.tensors.items()
        if isinstance(parameter, nn.Parameter) and ways[name].codec != "shared"
    ]
    numbers += [
        bank for way in ways.values() if way.codec == "shared" for bank in way.stored.values()
    ]
    return Export(
        format=_format(layout, ways),
        bytes=size,
        parameters=sum(t.numel() for t in numbers),
        nonzeros=sum(int(t.count_nonzero()) for t in numbers),
        tensors=tuple(
            StoredTensor(name, ways[name].codec, tuple(tensor.shape), ways[name].payload)
            for name, tensor in layout.tensors.items()
        ),
    )
