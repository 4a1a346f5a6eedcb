"""Run the units of a plan as Prefect tasks, as many at once as there are workers."""

import queue
from collections.abc import Callable, Iterator

from prefect.futures import PrefectFuture
from prefect.utilities.annotations import quote

from flows.display import Display
from overparam.study import Cell, StepRecord, Unit, record_of
from overparam.study.execution import State
from tasks import TASKS, Context

SPARE_SLOTS = 2
"""Tasks beyond the number of workers, so that looking in the store never waits for a worker."""


Wanted = Callable[[Cell], bool]


def run_units(context: Context, display: Display, wanted: Wanted) -> list[StepRecord]:
    """Run all units; who needs a cell that failed is skipped, the others go on.

    Args:
        wanted: whether a cell that is not stored shall run.

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
            for part, skipped in _parts(context, unit, wanted):
                running[_submit(context, part, skipped, done, finished)] = part
                display.started(part)
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


def _parts(context: Context, unit: Unit, wanted: Wanted) -> Iterator[tuple[Unit, str]]:
    """What of a unit runs, and what does not, with the reason."""
    plan = context.plan
    run, again, unreadable, unwanted = [], [], [], []
    for cell in unit.cells:
        if not plan.readable(cell):
            unreadable.append(cell)
        elif cell in context.forced:
            again.append(cell)
        elif wanted(cell) or context.store.has(plan.ref(cell)):
            run.append(cell)
        else:
            unwanted.append(cell)
    for cells in filter(None, (run, again)):
        yield Unit(unit.step, tuple(cells)), ""
    if unreadable:
        ups = [up for cell in unreadable for ups in cell.inputs.values() for up in ups]
        lost = _names([up for up in ups if up in plan.lost])
        yield (
            Unit(unit.step, tuple(unreadable)),
            f"{unit.name} needs {lost}, which did not complete",
        )
    if unwanted:
        yield Unit(unit.step, tuple(unwanted)), "not stored, and not among the cells asked for"


def _submit(
    context: Context,
    unit: Unit,
    skipped: str,
    done: dict[Cell, PrefectFuture[list[StepRecord]]],
    finished: "queue.SimpleQueue[PrefectFuture[list[StepRecord]]]",
) -> PrefectFuture[list[StepRecord]]:
    upstream = {
        done[up] for cell in unit.cells for ups in context.plan.present(cell).values() for up in ups
    }
    # Prefect would not start a task that waits for a failed one, even if it needs other cells.
    completed = [future for future in upstream if future.state.is_completed()]
    future: PrefectFuture[list[StepRecord]] = TASKS[unit.step.stage].submit(
        unit.name, quote(context), quote(unit), skipped, wait_for=completed
    )
    future.add_done_callback(finished.put)
    return future


def _names(cells: list[Cell]) -> str:
    shown = ", ".join(dict.fromkeys(cell.name for cell in cells[:3]))
    return shown + (f" and {len(cells) - 3} more" if len(cells) > 3 else "")


def _records(
    context: Context, unit: Unit, future: PrefectFuture[list[StepRecord]]
) -> list[StepRecord]:
    """The records of an ended task; the cells that it did not complete are lost to the plan."""
    plan, store = context.plan, context.store
    if future.state.is_completed():
        return future.result()
    word: State = "skipped" if future.state.name == "Skipped" else "failed"
    records = []
    for cell in unit.cells:
        # Of a batch that failed, some cells may have run alone and be stored.
        manifest = store.manifest(plan.ref(cell)) if word == "failed" else None
        if manifest is not None and cell not in context.forced:
            records.append(record_of(plan, cell, store, "completed", manifest))
            continue
        records.append(record_of(plan, cell, store, word, None, future.state.message or ""))
    for cell, record in zip(unit.cells, records, strict=True):
        if record.state == word:
            plan.lose(cell)
    return records
