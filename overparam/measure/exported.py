"""Measure exported models: each file loaded by its own loader, in a fresh process."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from overparam.datasets import Batches
from overparam.measure.exported_process import main
from overparam.measure.stored_samples import store_samples
from overparam.training import Task
from overparam.training.own_task import target_text

PROCESS = f"import sys; from {main.__module__} import main; main(sys.argv[1])"
"""The program of the measuring process; its function is named, so that its code counts where a step
measures."""

TIMEOUT = 600.0
POLL_SECONDS = 0.1
SAVED = 0.95
"""Less than this share of the dense model's is a saving."""

START_SECONDS = 300.0
"""What a busy machine may take until the process has imported what it needs."""


def measure_exports(
    folders: Mapping[str, Path],
    *,
    dense: str = "dense",
    factory: str,
    data: Batches,
    task: Task,
    task_factory: str | None = None,
    batch_sizes: Sequence[int] = (1, 64),
    pairs: int = 20,
    timeout: float = TIMEOUT,
) -> dict[str, dict[str, Any]]:
    """Measure exported models one after the other, the dense one first.

    A fresh Python process with one torch thread loads each folder with the ``load_model.py`` that
    lies in it. If it dies or hangs on a file (out of memory, a crash, ``timeout``), that file is
    reported as failed and a new process goes on with the rest.

    Args:
        folders: by name: ``model.safetensors``, ``model.json``, ``load_model.py``.
        dense: the name of the dense model, which the others are compared with.
        factory: ``file.py:callable`` or ``package.module:callable`` that makes the dense network;
            its code is run.
        data: test samples.
        task: how they reach the model; its own forward is found by ``task_factory``.
        task_factory: ``file.py:callable`` that gives the task, where it is the user's own.
        batch_sizes: at which latency is taken.
        pairs: timed pairs of a latency.
        timeout: seconds for one file.

    Returns:
        By name: ``bytes`` (of model.safetensors and model.json), ``format``, ``parameters`` and
        ``nonzeros`` (a bank of shared numbers counts as itself), ``flops`` and ``operators`` (of
        one sample), ``uncounted`` (operators that read a matrix and have no FLOP formula),
        ``memory`` (peak bytes of tensors at the largest batch), ``latency_B``, ``latency_B_low``
        and ``latency_B_high`` for each batch size B (median and quartiles of the ratio to the
        dense model, taken in turns), ``latency_B_ms``, ``latency`` (of the smallest batch), the
        numbers of :func:`overparam.measure.quality.quality`, ``seconds`` (of measuring), ``why``
        (:func:`explain`) and ``failure``, empty where all went well.

    Raises:
        ValueError: ``dense`` is not among the folders, or the task has a forward of its own and no
            ``task_factory``.
        RuntimeError: the dense model can't be measured.
    """
    if dense not in folders:
        raise ValueError(f"dense is {dense!r}; allowed: {', '.join(folders)}")
    if task.forward is not None and task_factory is None:
        raise ValueError(
            "task has a forward of its own, which another process can't be handed; "
            "give task_factory too"
        )
    with tempfile.TemporaryDirectory(prefix="overparam-measure-") as scratch:
        place = Path(scratch)
        store_samples(data, place / "samples")
        spec: dict[str, Any] = {
            "factory": _absolute(factory),
            "task": None if task_factory is None else _absolute(task_factory),
            "kind": task.kind,
            "classes": list(task.classes),
            "target": target_text(task),
            "samples": str(place / "samples"),
            "dense": str(folders[dense]),
            "batch_sizes": list(batch_sizes),
            "pairs": pairs,
        }
        rows: dict[str, dict[str, Any]] = {}
        waiting = [dense, *(name for name in folders if name != dense)]
        while waiting:
            spec["folders"] = {name: str(folders[name]) for name in waiting}
            found, reason = _one_process(spec, place, timeout)
            rows |= found
            waiting = [name for name in waiting if name not in found]
            if waiting:
                rows[waiting[0]] = {"failure": reason}
                waiting = waiting[1:]
            if rows[dense]["failure"]:
                raise RuntimeError(f"the dense model can't be measured: {rows[dense]['failure']}")
    return {
        name: {**row, "why": "" if row["failure"] else explain(row, rows[dense])}
        for name, row in ((name, rows[name]) for name in folders)
    }


def explain(row: Mapping[str, Any], dense: Mapping[str, Any]) -> str:
    """Why a smaller file, or fewer operations, made nothing faster; empty where it is faster.

    "Faster" is a median latency below 0.95 of the dense model's at the smallest batch, with the
    upper quartile below 1: a difference within the noise is none.

    Args:
        row: numbers of :func:`measure_exports`.
        dense: those of the dense model.
    """
    fewer_flops = row["flops"] < SAVED * dense["flops"]
    smaller = row["bytes"] < SAVED * dense["bytes"]
    sizes = [int(key.split("_")[1]) for key in row if key.endswith("_high")]
    surely = row[f"latency_{min(sizes)}_high"] < 1 if sizes else True
    if (row["latency"] < SAVED and surely) or not (fewer_flops or smaller):
        return ""
    if fewer_flops:
        share = row["flops"] / dense["flops"]
        return f"{share:.0%} of the FLOPs, no faster: {_where_time_goes(row, dense)}"
    reasons = []
    if row["nonzeros"] < SAVED * row["parameters"]:
        reasons.append("zeros in a dense tensor are multiplied like other numbers")
    if "int" in row["format"]:
        reasons.append("packed integers are expanded to floats when they are loaded")
    if "shared" in row["format"]:
        reasons.append("shared numbers are expanded to full tensors when they are loaded")
    return "smaller on disk, no faster: " + (
        "; ".join(reasons) or "the same operations run on the same shapes"
    )


def _where_time_goes(row: Mapping[str, Any], dense: Mapping[str, Any]) -> str:
    """Of fewer FLOPs that are no faster, by what was measured."""
    if row.get("operators", 0) > dense.get("operators", 0):
        return (
            f"{row['operators']} operators run instead of {dense['operators']}, and each costs "
            "time of its own"
        )
    times = {int(key.split("_")[1]): dense[key] for key in dense if key.endswith("_ms")}
    if len(times) > 1:
        few, many = min(times), max(times)
        alone, together = times[few] / few, times[many] / many
        if together > alone / 2:
            rates = [x["flops"] * few / x[f"latency_{few}_ms"] / 1e6 for x in (row, dense)]
            return (
                f"the remaining operations run slower on this machine, {rates[0]:.3g} GFLOP/s "
                f"instead of {rates[1]:.3g}"
            )
    return "at this size a call spends its time on overhead, not on arithmetic"


def _one_process(
    spec: Mapping[str, Any], place: Path, timeout: float
) -> tuple[dict[str, dict[str, Any]], str]:
    """Rows of the files that a process measured before it ended, and why it ended early."""
    results = place / "results.jsonl"
    results.write_text("")
    (place / "spec.json").write_text(json.dumps({**spec, "results": str(results)}))
    log = place / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(place / "spec.json")],
            stdout=stream,
            stderr=stream,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        try:
            reason = _wait(process, results, timeout)
        finally:
            process.kill()
            process.wait()
    rows = [json.loads(line) for line in results.read_text().splitlines() if line.endswith("}")]
    tail = log.read_text(errors="replace").strip().splitlines()[-1:]
    return {row.pop("name"): row for row in rows}, "; ".join(filter(None, [reason, *tail]))


def _wait(process: "subprocess.Popen[bytes]", results: Path, timeout: float) -> str:
    """Wait for the end, or for a file that takes longer than ``timeout``.

    The process writes an empty line when it is ready, and a line for each file.
    """
    seen, since = 0, time.monotonic()
    while True:
        try:
            status = process.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            size, now = results.stat().st_size, time.monotonic()
            if size != seen:
                seen, since = size, now
            limit = timeout if seen else START_SECONDS
            if now - since > limit:
                return f"no result after {limit:g} s"
            continue
        if status < 0:
            hint = " (out of memory?)" if -status == signal.SIGKILL else ""
            return f"the measuring process was killed by {signal.Signals(-status).name}{hint}"
        return f"the measuring process ended with status {status}" if status else ""


def _absolute(factory: str) -> str:
    place, colon, name = factory.rpartition(":")
    return f"{Path(place).absolute()}{colon}{name}" if place.endswith(".py") else factory
