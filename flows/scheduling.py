"""Run the units of a plan as Prefect tasks, as many at once as there are workers."""

import queue
from collections.abc import Iterator

from prefect.futures import PrefectFuture
from prefect.utilities.annotations import quote

from flows.display import Display
from overparam.study import Cell, StepRecord, Unit, record_of
from overparam.study.execution import State
from tasks import TASKS, Context

SPARE_SLOTS = 2
"""Tasks beyond the number of workers, so that looking in the store never waits for a worker."""


def run_units(context: Context, display: Display) -> list[StepRecord]:
    """Run all units; who needs a cell that failed is skipped, the others go on.

    Returns:
        A record per cell, in the order of the plan.
    """
    plan = context.plan
    waiting = list(plan.units)
    running: dict[PrefectFuture[list[StepRecord]], Unit] = {}
    finished: queue.SimpleQueue[PrefectFuture[list[StepRecord]]] = queue.SimpleQueue()
    done: dict[Cell, PrefectFuture[list[StepRecord]]] = {}
    records: dict[Cell, StepRecord] = {}
    while waiting or running:
        for unit in _ready(waiting, done):
            if len(running) >= context.workers.size + SPARE_SLOTS:
                break
            waiting.remove(unit)
            running[_submit(context, unit, done, finished)] = unit
            display.started(unit)
        future = finished.get()
        future.wait()  # takes over the final state; without it, the server is asked, which lags
        unit = running.pop(future)
        found = _records(context, unit, future)
        records |= dict(zip(unit.cells, found, strict=True))
        done |= dict.fromkeys(unit.cells, future)
        display.finished(unit, found)
    return [records[cell] for cell in plan.cells]


def _ready(
    waiting: list[Unit], done: dict[Cell, PrefectFuture[list[StepRecord]]]
) -> Iterator[Unit]:
    """The waiting units all of whose inputs have ended, one way or another."""
    for unit in list(waiting):
        if all(up in done for cell in unit.cells for ups in cell.inputs.values() for up in ups):
            yield unit


def _submit(
    context: Context,
    unit: Unit,
    done: dict[Cell, PrefectFuture[list[StepRecord]]],
    finished: "queue.SimpleQueue[PrefectFuture[list[StepRecord]]]",
) -> PrefectFuture[list[StepRecord]]:
    plan = context.plan
    upstream = [up for cell in unit.cells for ups in cell.inputs.values() for up in ups]
    lost = [up for up in upstream if up in plan.lost]
    missing = "" if all(plan.readable(cell) for cell in unit.cells) else _names(lost)
    present = {done[up] for up in upstream if up not in plan.lost}
    future: PrefectFuture[list[StepRecord]] = TASKS[unit.step.stage].submit(
        unit.name, quote(context), quote(unit), missing, wait_for=list(present)
    )
    future.add_done_callback(finished.put)
    return future


def _names(cells: list[Cell]) -> str:
    shown = ", ".join(dict.fromkeys(cell.name for cell in cells[:3]))
    return shown + (f" and {len(cells) - 3} more" if len(cells) > 3 else "")


def _records(
    context: Context, unit: Unit, future: PrefectFuture[list[StepRecord]]
) -> list[StepRecord]:
    """The records of an ended task; its cells are lost to the plan if it did not complete."""
    if future.state.is_completed():
        return future.result()
    for cell in unit.cells:
        context.plan.lose(cell)
    word: State = "skipped" if future.state.name == "Skipped" else "failed"
    error = future.state.message or ""
    return [record_of(context.plan, c, context.store, word, None, error) for c in unit.cells]
