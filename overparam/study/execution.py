"""Run one unit of a plan: read its inputs from the store, call the step, write what it returns.

The same code runs in this process (``Study.run``), in a Prefect task and in a worker process.
"""

import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import pyarrow.compute as pc
from threadpoolctl import threadpool_limits

from overparam.errors import StepFailed, said
from overparam.store import (
    ArtifactRef,
    Checkpoint,
    Manifest,
    Store,
    StoreError,
    TableLike,
    Tables,
)
from overparam.study.plan import Cell, Plan, Unit, digest
from overparam.study.steps import named_tables, no_progress

State = Literal["completed", "cached", "failed", "skipped"]
Progress = Callable[..., Iterator[Any]]

RECORDED_VERSIONS = ("overparam", "torch", "numpy", "scipy", "pandas", "pyarrow", "scikit-learn")


@dataclass(frozen=True)
class StepRecord:
    """What became of one cell in one run."""

    study: str
    step: str
    stage: str
    cell: Mapping[str, Any]
    key: str
    state: State
    seconds: float = 0.0
    rows: int = 0
    bytes: int = 0
    path: str = ""
    error: str = ""
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able row."""
        return asdict(self)


def record_of(
    plan: Plan, cell: Cell, store: Store, state: State, manifest: Manifest | None, error: str = ""
) -> StepRecord:
    """The record of a cell, with the figures of its manifest if it has one."""
    ref = plan.ref(cell)
    tables = {} if manifest is None else manifest.tables
    seconds = manifest.meta.get("seconds") if manifest else 0.0
    return StepRecord(
        study=ref.study,
        step=ref.step,
        stage=cell.step.stage,
        cell=dict(cell.values),
        key=ref.key,
        state=state,
        seconds=float(str(seconds or 0.0)),
        rows=sum(table.rows for table in tables.values()),
        bytes=sum(table.bytes for table in tables.values()),
        path=str(store.folder(ref)) if manifest else "",
        error=error,
        tables={name: {"rows": t.rows, "bytes": t.bytes} for name, t in tables.items()},
    )


def cached_records(plan: Plan, unit: Unit, store: Store) -> list[StepRecord] | None:
    """The records of a unit whose cells all lie in the store, or ``None``."""
    records = []
    for cell in unit.cells:
        manifest = store.manifest(plan.ref(cell))
        if manifest is None:
            return None
        records.append(record_of(plan, cell, store, "cached", manifest))
    return records


def missing_cells(plan: Plan, unit: Unit, store: Store) -> tuple[Cell, ...]:
    """The cells of a unit that are not in the store."""
    return tuple(cell for cell in unit.cells if not store.has(plan.ref(cell)))


def run_unit(
    plan: Plan,
    unit: Unit,
    store: Store,
    *,
    fresh: bool = False,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> list[StepRecord]:
    """Run what is missing of a unit and return a record per cell.

    Args:
        fresh: run all its cells, whatever is stored.

    Raises:
        StepFailed: the step raised, or returned what can't be stored: it would do so again.
        DamagedArtifact: an input's bytes are not those that were written.
        StoreError, OSError, MemoryError: no space, no memory: nothing is said of the step.
    """
    cells = unit.cells if fresh else missing_cells(plan, unit, store)
    records = {
        cell: record_of(plan, cell, store, "cached", store.manifest(plan.ref(cell)))
        for cell in unit.cells
        if cell not in cells
    }
    if cells:
        records |= _call(plan, Unit(unit.step, cells), store, device, progress)
    return [records[cell] for cell in unit.cells]


def _call(
    plan: Plan, unit: Unit, store: Store, device: str, progress: Progress
) -> dict[Cell, StepRecord]:
    step = unit.step
    keys = {cell: plan.key(cell) for cell in unit.cells}
    checkpoint = Checkpoint(store, digest({"unit": sorted(keys.values())}))
    reserved = {"progress": progress, "device": device, "checkpoint": checkpoint}
    inputs = [read_cells(plan, cells, store) for cells in _unit_inputs(plan, unit).values()]
    values = plan.values(step, unit.cells)
    started = time.perf_counter()
    try:
        with single_threaded():  # writing too: an iterator of batches computes while it is written
            given = step.function(*inputs, **values, **{n: reserved[n] for n in step.reserved})
            tables = named_tables(given, step.name)
            parts = _batch_parts(unit, tables)
            seconds = time.perf_counter() - started
            records = {}
            for cell in unit.cells:
                meta = _meta(plan, cell, seconds=seconds / len(unit.cells), device=device)
                manifest = store.write(
                    plan.ref(cell), parts.get(cell, tables), meta=meta, volatile=step.volatile
                )
                records[cell] = record_of(plan, cell, store, "completed", manifest)
    except MemoryError as error:
        raise MemoryError(_failure(unit, error)) from error
    except (StoreError, OSError):
        raise  # not the step's own doing: it may go well another time
    except Exception as error:
        if _out_of_memory(error):
            raise MemoryError(_failure(unit, error)) from error
        raise StepFailed(_failure(unit, error)) from error
    checkpoint.clear()
    return records


@contextmanager
def single_threaded() -> Iterator[None]:
    """One thread for BLAS, OpenMP and torch, here as in a worker.

    Sums come out in another order with another number of threads; runs would differ in last bits.
    """
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 1
    with threadpool_limits(limits=1):
        if torch:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(threads)


def _out_of_memory(error: Exception) -> bool:
    """Whether torch had no memory left, which it tells by errors of its own."""
    return type(error).__name__ == "OutOfMemoryError" or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def _failure(unit: Unit, error: Exception) -> str:
    """One line with study, step, cell, cause and the place in the user's code."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{unit.name}: {said(error)}{place}"


def _unit_inputs(plan: Plan, unit: Unit) -> dict[str, list[Cell]]:
    """What a unit reads: the union, in order, of what its cells read."""
    inputs: dict[str, dict[Cell, None]] = {name: {} for name in unit.step.inputs}
    for cell in unit.cells:
        for name, upstream in plan.present(cell).items():
            inputs[name].update(dict.fromkeys(upstream))
    return {name: list(cells) for name, cells in inputs.items()}


def read_cells(plan: Plan, cells: Iterable[Cell], store: Store) -> Tables:
    """The tables of some cells of one step, one after the other, the cells' values as columns.

    Nothing is read from the store before it is looked at.
    """
    return Tables.concat(store.read(plan.ref(cell), cell=cell.values) for cell in cells)


def _batch_parts(unit: Unit, tables: Mapping[str, TableLike]) -> dict[Cell, dict[str, TableLike]]:
    """What a batch returned, split by the column of the batched name; empty without a batch.

    Raises:
        ValueError: a table lacks the column, or lacks rows of a cell, or has rows of none.
    """
    if unit.step.batched is None:
        return {}
    name = unit.step.batched[0]
    wanted = [cell.values[name] for cell in unit.cells]
    parts: dict[Cell, dict[str, TableLike]] = {cell: {} for cell in unit.cells}
    given = Tables.of(tables)
    for table_name in given:
        table = given.arrow(table_name)
        if name not in table.column_names:
            raise ValueError(f"table {table_name!r} lacks the column {name!r} of its batch")
        column = table.column(name)
        found = column.unique().to_pylist()
        if set(found) != set(wanted):
            raise ValueError(
                f"table {table_name!r} has rows for {name} {sorted(found)}, "
                f"not for {sorted(wanted)}"
            )
        for cell in unit.cells:
            parts[cell][table_name] = table.filter(pc.equal(column, cell.values[name]))
    return parts


def _meta(plan: Plan, cell: Cell, *, seconds: float, device: str) -> dict[str, Any]:
    parts = plan.key_parts(cell)
    return {
        **parts,
        "code_parts": dict(plan.fingerprint(cell.step).parts),
        "profile": plan.profile,
        "seconds": seconds,
        "device": device,
        "python": platform.python_version(),
        "machine": platform.platform(),
        "versions": installed_versions(),
    }


def installed_versions() -> dict[str, str]:
    """The versions of the libraries that results rest on."""
    found = {}
    for package in RECORDED_VERSIONS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def artifact_refs(plan: Plan) -> list[ArtifactRef]:
    """The artifacts of a plan's cells that are not lost."""
    return [plan.ref(cell) for cell in plan.cells if cell not in plan.lost]
