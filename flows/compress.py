"""The flow ``compress``: the user's own model through many compressors, and what came out."""

import json
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import flow
from prefect.runtime import flow_run

from flows.naming import run_name
from flows.study import Settings, StudyRun, WorkerCount, run_study
from flows.wishes import Wish
from overparam.compress.frontier import CELL, choice_of
from overparam.datasets import read_schema
from overparam.errors import BadInput, ConfigError
from overparam.store import ArtifactRef, Store, Tables, write_folders
from overparam.studies import load
from overparam.studies.own.compress import Config, try_inputs
from overparam.study import StepRecord
from tasks import as_setting
from tasks.artifacts import AGAIN

STUDY = "compress"
PREPARATION = "preparation.json"

checked: ContextVar[Mapping[str, Any] | None] = ContextVar("checked", default=None)
"""The settings that were checked last."""


def _run_name() -> str:
    """``compress · digits``, ``compress · net.py:make · ratios=2,4``."""
    settings = dict(flow_run.parameters["settings"])
    what = settings.pop("model", None) or settings.pop("sample", "digits")
    words = [f"{field}={as_setting(value)}" for field, value in settings.items()]
    return run_name([STUDY, Path(what).name, *words])


@flow(name="compress", flow_run_name=_run_name, persist_result=False)
def compress(
    settings: Settings = {},  # noqa: B006 - Prefect shows the default in its form; never mutated
    store: str | None = None,
    workers: WorkerCount = 1,
    fresh: bool = False,
) -> StudyRun:
    """Compress a model in many ways, measure every exported file, and say which suits a budget.

    Args:
        settings: config fields: model and data, or a sample; methods, ratios, bits, budget
        store: address of the store, empty for the default
        workers: worker processes at once, one torch thread each
        fresh: run every step again, whatever is stored

    Raises:
        BadInput, StoreError: nothing has run.
        StepsFailed: a step failed; what did not need it ran, and the report shows what there is.
    """
    if checked.get() != settings:
        check(settings)
    return run_study(STUDY, "quick", settings, store, workers, "cpu", Wish(fresh=fresh))


def check(settings: Mapping[str, Any]) -> None:
    """Check model, weights, data and budget as far as that needs no training.

    Reading data may take long: a command checks before it asks for a server, and the flow that it
    starts then does not again.

    Raises:
        ConfigError: names the field, the value and what is allowed.
    """
    config = Config.for_profile("quick", settings)
    try:
        try_inputs(config)
    except (ValueError, TypeError, ImportError, OSError) as error:
        raise ConfigError(str(error)) from error
    checked.set(settings)


def outcome(run: StudyRun, store: Store) -> dict[str, Any]:
    """What came out of a run, as JSON has it; ``export`` is a cell's folder in the store."""
    front = _tables(run, store, "front")
    measured = _tables(run, store, "measured")
    made = {_cell(r.cell): r for r in run.steps if r.step == "compressed"}
    cells = [] if measured is None else [_row(row) for row in _rows(measured["cells"])]
    for row in cells:
        row["export"] = made[_cell(row)].path
    broken = next((r for r in run.steps if r.state == "failed" and r.step != "compressed"), None)
    why = "" if broken is None else f"{broken.step} failed: {_reason(broken)}"
    failed = [
        {
            **record.cell,
            "state": record.state if record.state in ("failed", "skipped") else "failed",
            "reason": _reason(record) if record.state == "failed" else why,
            "export": record.path,
        }
        for record in made.values()
        if record.state in ("failed", "skipped") or measured is None
    ]
    choice = None if front is None else choice_of(front["front"])
    dense = {"state": "failed", "reason": why} if measured is None else _rows(measured["dense"])[0]
    return {
        "dense": dense if measured is None else _row(dense),
        "cells": [*cells, *failed],
        "metric": "" if front is None else front["answer"]["metric"][0],
        "front": [] if front is None else _rows(front["front"]),
        "frontier": _file(run, store, "front", "front"),
        "pick": None if choice is None else choice.cell,
        "answer": run.answer or f"There is no answer: {why}",
        "report": run.report,
        "flow_run_id": run.flow_run_id,
    }


def pick(run: StudyRun, store: Store, folder: Path) -> list[Path]:
    """Write the files of the chosen model, and how its inputs are prepared and classes named.

    Raises:
        BadInput: nothing meets the budget, or the run did not get that far.
    """
    front, study = _tables(run, store, "front"), load(STUDY)
    choice = None if front is None else choice_of(front["front"])
    if choice is None:
        raise BadInput(f"there is no model to write to {folder}: {run.answer or 'a step failed'}")
    plan = study.plan("quick", **run.config)
    wanted = [
        cell
        for cell in plan.cells_of(study.steps["compressed"])
        if dict(cell.values) == choice.cell
    ]
    write_folders(store.read(plan.ref(wanted[0])), "files", folder)
    samples, dense = _tables(run, store, "samples"), _tables(run, store, "dense")
    if samples is not None and dense is not None:
        facts = read_schema(samples)
        told = {name: facts[name] for name in ("kind", "classes", "inputs", "preparation")}
        told["target"] = json.loads(dense["facts"]["target"][0] or "null")
        (folder / PREPARATION).write_text(json.dumps(told, indent=2), encoding="utf-8")
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _tables(run: StudyRun, store: Store, step: str) -> Tables | None:
    for record in run.steps:
        if record.step == step and record.state in ("completed", "cached"):
            return store.read(ArtifactRef(record.study, record.step, record.key))
    return None


def _file(run: StudyRun, store: Store, step: str, table: str) -> str:
    """The Parquet file of a step's table; empty where there is none."""
    for record in (r for r in run.steps if r.step == step):
        found = store.manifest(ArtifactRef(record.study, record.step, record.key))
        if found is not None and table in found.tables:
            return f"{record.path}/{found.tables[table].file}"
    return ""


def _reason(record: StepRecord) -> str:
    """Why a step failed, without its name and how to run it again."""
    text = record.error.partition(AGAIN)[0].strip()
    named = text.startswith(f"{record.stage} · ")
    return text.partition(": ")[2] if named and ": " in text else text


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{str(name): _plain(value) for name, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """A measured row with the two latencies under one name."""
    ratios = {size: row.pop(f"latency_{size}", None) for size in ("1", "64")}
    return {**row, "latency_ratio": ratios}


def _cell(values: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(values[name] for name in CELL)
