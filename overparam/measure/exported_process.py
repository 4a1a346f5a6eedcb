"""The measuring process, which :mod:`overparam.measure.exported` starts.

It starts without any of the training's state and writes one line of JSON for each file.
"""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from overparam.datasets import Inputs
from overparam.datasets.batches import each_part
from overparam.measure.flops import flop_count
from overparam.measure.latency import latency_ratio
from overparam.measure.quality import quality
from overparam.measure.stored_samples import StoredSamples
from overparam.measure.tensor_memory import peak_tensor_bytes
from overparam.study.loading import load_module, load_object
from overparam.training import Task, all_outputs
from overparam.training.own_task import chosen_task, with_target

TIMED_MS = 2.0
"""A timing takes at least about this long: shorter calls are repeated."""

NO_PRODUCTS = ("aten.embedding", "aten.add", "aten.sub", "aten.mul", "aten.div", "aten.cat")
"""Operators that read a table, or compute entry by entry: not counted, as usual."""


def main(spec_file: str) -> None:
    """Measure the files of a specification, the dense model first."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    spec = json.loads(Path(spec_file).read_text())
    with Path(spec["results"]).open("a") as results:
        results.write("\n")
    data, task = (
        StoredSamples(Path(spec["samples"])),
        with_target(
            chosen_task(spec["task"], spec["kind"], tuple(spec["classes"])), spec["target"]
        ),
    )
    factory = load_object(spec["factory"])
    dense = _load(factory, spec["dense"])
    outputs, _ = all_outputs(dense, data, task)
    with Path(spec["results"]).open("a") as results:
        for name, folder in spec["folders"].items():
            started = time.perf_counter()
            try:
                model = dense if folder == spec["dense"] else _load(factory, folder)
                row = {"failure": "", **_measured(model, dense, outputs, data, task, spec)}
                row |= _file_facts(model, Path(folder))
            except Exception as error:
                row = {"failure": f"{type(error).__name__}: {error}"}
            row["seconds"] = time.perf_counter() - started
            results.write(json.dumps({"name": name, **row}) + "\n")
            results.flush()


def _load(factory: Callable[[], nn.Module], folder: str) -> nn.Module:
    loader = load_module(str(Path(folder) / "load_model.py"))
    model: nn.Module = loader.load(factory, folder)
    return model.eval()


def _measured(
    model: nn.Module,
    dense: nn.Module,
    dense_outputs: torch.Tensor,
    data: StoredSamples,
    task: Task,
    spec: dict[str, Any],
) -> dict[str, Any]:
    outputs, targets = all_outputs(model, data, task)
    one = _first(data, 1)
    most = _first(data, max(spec["batch_sizes"]))
    counted = flop_count(model, lambda: task.outputs(model, one))
    row: dict[str, Any] = {
        "flops": counted.total,
        "operators": counted.operators,
        "uncounted": ", ".join(name for name in counted.uncounted if name not in NO_PRODUCTS),
        "memory": peak_tensor_bytes(model, lambda: task.outputs(model, most)),
        **quality(outputs, targets, task.kind, dense=dense_outputs, classes=task.classes),
    }
    for size in spec["batch_sizes"]:
        row |= _latency(model, dense, _first(data, size), task, size, spec["pairs"])
    row["latency"] = row[f"latency_{min(spec['batch_sizes'])}"]
    return row


def _latency(
    model: nn.Module, dense: nn.Module, inputs: Inputs, task: Task, size: int, pairs: int
) -> dict[str, float]:
    started = time.perf_counter()
    with torch.inference_mode():
        task.outputs(dense, inputs)
        started = time.perf_counter()
        task.outputs(dense, inputs)
    once = (time.perf_counter() - started) * 1e3
    found = latency_ratio(
        lambda: task.outputs(model, inputs),
        lambda: task.outputs(dense, inputs),
        pairs=pairs,
        calls=max(1, math.ceil(TIMED_MS / max(once, 1e-3))),
    )
    low, high = (float(torch.tensor(found.ratios).quantile(q)) for q in (0.25, 0.75))
    return {
        f"latency_{size}": 1.0 if model is dense else found.ratio,
        f"latency_{size}_low": low,
        f"latency_{size}_high": high,
        f"latency_{size}_ms": found.candidate_ms,
    }


def _first(data: StoredSamples, n: int) -> Inputs:
    """The first n samples; a smaller test set is repeated."""
    inputs, targets = data.take(n)
    rows = torch.arange(n) % len(targets)
    return each_part(inputs, lambda part: part[rows])


def _file_facts(model: nn.Module, folder: Path) -> dict[str, Any]:
    """Size and format of the files, and how many numbers the parameters follow from."""
    files = [folder / "model.safetensors", folder / "model.json"]
    spec = json.loads(files[1].read_text())
    # Tensors that are computed from a bank count as the bank.
    banks = {n: entry["bank"] for n, entry in spec.get("tensors", {}).items() if "bank" in entry}
    numbers: list[torch.Tensor] = [p for n, p in model.named_parameters() if n not in banks]
    with safe_open(files[0], "pt") as stored:
        numbers += [stored.get_tensor(name) for name in sorted(set(banks.values()))]
    return {
        "bytes": sum(file.stat().st_size for file in files),
        "format": spec["format"],
        "parameters": sum(tensor.numel() for tensor in numbers),
        "nonzeros": sum(int(tensor.count_nonzero()) for tensor in numbers),
    }
