"""The terminal display of a run: one bar per step, on standard error."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from overparam.study import Plan, Step, StepRecord, Unit
from tasks import Workers

REFRESH_SECONDS = 0.25


class Bars:
    """A bar per step, counting cells, with the progress of the running ones in words."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: dict[Step, TaskID] = {}
        self._running: dict[Unit, int] = {}
        self._states: dict[Step, set[str]] = {}
        self._progress: Progress | None = None

    @contextmanager
    def run(self, plan: Plan, workers: Workers) -> Iterator[None]:
        progress = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.fields[stage]:<8}"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
            console=self._console,
            transient=False,
        )
        self._progress, self._bars, self._running, self._states = progress, {}, {}, {}
        for cell in plan.cells:
            if cell.step not in self._bars:
                self._bars[cell.step] = progress.add_task(
                    cell.step.name,
                    total=len(plan.cells_of(cell.step)),
                    stage=cell.step.stage,
                    note="",
                    start=False,
                )
        self._console.print(f"[bold]{plan.study.name}[/bold] ({plan.profile})")
        done = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(plan, workers, done), daemon=True)
        with progress:
            watcher.start()
            try:
                yield
            finally:
                done.set()
                watcher.join()

    def started(self, unit: Unit) -> None:
        assert self._progress is not None
        self._progress.start_task(self._bars[unit.step])
        self._running[unit] = 1

    def finished(self, unit: Unit, records: Sequence[StepRecord]) -> None:
        assert self._progress is not None
        self._running.pop(unit, None)
        bar = self._bars[unit.step]
        states = self._states.setdefault(unit.step, set())
        states |= {record.state for record in records}
        note = " ".join(sorted(states - {"completed"}))
        if states & {"failed", "skipped"}:
            note = f"[red]{note}[/red]"
        self._progress.update(bar, advance=len(records), note=note)

    def _watch(self, plan: Plan, workers: Workers, done: threading.Event) -> None:
        """Show the inner progress of one running unit per step."""
        assert self._progress is not None
        number = {cell: index for index, unit in enumerate(plan.units) for cell in unit.cells}
        while not done.wait(REFRESH_SECONDS):
            for unit in list(self._running):
                inner = workers.progress(plan.study.name, number[unit.cells[0]])
                if inner is not None and inner.total:
                    note = f"{inner.description} {inner.done}/{inner.total}".strip()
                    self._progress.update(self._bars[unit.step], note=note)
