"""The five Prefect tasks: generate, train, compress, evaluate, report; one factory makes four."""

import json
import shlex
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas import State, TaskRun
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound
from prefect.runtime import task_run
from prefect.states import Cancelled, Completed, Failed
from prefect.tasks import exponential_backoff

from overparam.reporting import make_report
from overparam.store import (
    Store,
    StoreError,
    forget_failure,
    known_failure,
    record_failure,
)
from overparam.study import (
    Cell,
    Plan,
    StepFailed,
    StepRecord,
    StudyError,
    Unit,
    cached_records,
    mending,
    missing_cells,
    record_of,
)
from overparam.study.execution import installed_versions
from overparam.study.steps import STAGES
from tasks.artifacts import AGAIN, ProgressArtifact, publish_report, publish_tables
from tasks.cache import cached_state
from tasks.pool import Pending, Request, Run, StepTimeout, WorkerDied, Workers

POLL_SECONDS = 1.0
IO_RETRIES = 2

STEP_LIMIT = "overparam-steps"
"""Name of the global concurrency limit on steps, see docs/operations.md."""


@dataclass(frozen=True, eq=False)
class Context:
    """What every task of one run is given; ``forced`` cells run whatever is stored.

    ``limited``: the server has a limit on steps at once, which every step asks for a slot.
    """

    run: Run
    plan: Plan
    store: Store
    workers: Workers
    forced: frozenset[Cell] = frozenset()
    limited: bool = False

    def forces(self, unit: Unit) -> bool:
        """Whether a unit runs whatever is stored."""
        return not self.forced.isdisjoint(unit.cells)


def steps_are_limited() -> bool:
    """Whether the server has a limit on steps at once, over all runs that report to it."""
    with get_client(sync_client=True) as client:
        try:
            return client.read_global_concurrency_limit_by_name(STEP_LIMIT).active
        except ObjectNotFound:
            return False


def is_io_error(_task: Task[Any, Any], _run: TaskRun, state: State[Any]) -> bool:
    """Try again after an I/O error only: a wrong config or a diverged model would fail again."""
    return _is_transient(state.data)


def _is_transient(error: object) -> bool:
    lasting = FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError
    return isinstance(error, OSError) and not isinstance(error, lasting)


def _options(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "task_run_name": "{name}",
        "retries": IO_RETRIES,
        "retry_delay_seconds": exponential_backoff(backoff_factor=1),
        "retry_jitter_factor": 1.0,
        "retry_condition_fn": is_io_error,
        "cache_policy": NO_CACHE,
        "persist_result": False,
    }


def stage_task(stage: str) -> Task[..., Any]:
    """The Prefect task of a stage: look in the store, else hand the unit to a worker.

    ``skipped`` says why a unit does not run (what it needs failed); the task ends as ``Skipped``.
    """

    @task(**_options(stage), description=f"Run a step of the stage {stage}.")
    def run_stage(name: str, context: Context, unit: Unit, skipped: str = "") -> Any:
        plan, store = context.plan, context.store
        if skipped:
            return Cancelled(name="Skipped", message=skipped)
        if not context.forces(unit):
            cached = cached_records(plan, unit, store)
            if cached is not None:
                return cached_state(cached)
        try:
            records = mending(
                plan,
                store,
                lambda: _run_or_isolate(context, unit),
                produce=lambda again: _in_worker(context, again, fresh=False),
            )
        except (StudyError, StepTimeout, WorkerDied, StoreError, MemoryError) as error:
            return Failed(message=_message(context, unit, str(error)))
        except OSError as error:
            if task_run.run_count <= IO_RETRIES and _is_transient(error):
                raise
            return Failed(message=_message(context, unit, str(error)))
        publish_tables(plan, unit, records, store)
        return records

    return run_stage


generate, train, compress, evaluate = (stage_task(stage) for stage in STAGES)
TASKS = dict(zip(STAGES, (generate, train, compress, evaluate), strict=True))


def _run_or_isolate(context: Context, unit: Unit) -> list[StepRecord]:
    """Run a unit; where a batch fails, run its cells alone, so that one of them fails alone.

    A cell that is on record as failed is not tried again: nothing that it reads has changed.

    Raises:
        StepFailed: some cells failed; each is on record as failed, the others are stored.
    """
    plan, store, forced = context.plan, context.store, context.forces(unit)
    wanted = unit.cells if forced else missing_cells(plan, unit, store)
    known = {} if forced else _known_failures(context, wanted)
    tried = tuple(cell for cell in wanted if cell not in known)
    failures = list(dict.fromkeys(known.values()))
    try:
        if tried:
            _in_worker(context, Unit(unit.step, tried), fresh=forced)
    except (StepFailed, WorkerDied) as error:
        if len(tried) == 1:
            failures.append(_remember(context, tried[0], error))
        else:
            failures += _one_by_one(context, tried, forced)
    if failures:
        raise StepFailed("\n".join(failures))
    return [
        record_of(
            plan,
            cell,
            store,
            "completed" if cell in tried else "cached",
            store.manifest(plan.ref(cell)),
        )
        for cell in unit.cells
    ]


def _one_by_one(context: Context, cells: tuple[Cell, ...], forced: bool) -> list[str]:
    """Run the cells of a batch alone; returns what those that fail say."""
    failures = []
    for cell in cells:
        try:
            _in_worker(context, Unit(cell.step, (cell,)), fresh=forced)
        except (StepFailed, WorkerDied) as error:
            failures.append(_remember(context, cell, error))
    return failures


def _in_worker(context: Context, unit: Unit, *, fresh: bool) -> None:
    """Run what is missing of a unit (all of it if ``fresh``) in a worker, showing its progress."""
    plan, store = context.plan, context.store
    cells = unit.cells if fresh else missing_cells(plan, unit, store)
    request = Request.of(context.run, plan, Unit(unit.step, cells), fresh=fresh)
    with concurrency(STEP_LIMIT, occupy=1) if context.limited else nullcontext():
        _wait(context.workers.submit(request, unit.step.timeout), ProgressArtifact(unit))
    for cell in cells:
        forget_failure(store, plan.ref(cell))


def _known_failures(context: Context, cells: tuple[Cell, ...]) -> dict[Cell, str]:
    """The cells that failed before and would fail again, with what they said."""
    versions = installed_versions()
    found = {cell: known_failure(context.store, context.plan.ref(cell), versions) for cell in cells}
    again = "Not tried again: nothing that it reads has changed (--fresh tries anyway)."
    return {cell: f"{message}\n{again}" for cell, message in found.items() if message}


def _remember(context: Context, cell: Cell, error: Exception) -> str:
    """Put a deterministic failure on record; a worker that died may live another time."""
    message = _with_name(Unit(cell.step, (cell,)), str(error))
    if isinstance(error, StepFailed):
        record_failure(context.store, context.plan.ref(cell), message, installed_versions())
    return message


def _wait(pending: Pending, artifact: ProgressArtifact) -> None:
    while pending.wait(POLL_SECONDS) is None:
        artifact.show(pending.progress)
    artifact.close(pending.progress)


def _message(context: Context, unit: Unit, cause: str) -> str:
    """Study, step, cell, cause, and the command that runs again what is missing."""
    return f"{_with_name(unit, cause)}\n{AGAIN}{rerun_command(context.run)}"


def _with_name(unit: Unit, cause: str) -> str:
    named = f" · {unit.step.study}" in cause.partition(":")[0]
    return cause if named else f"{unit.name}: {cause}"


def rerun_command(run: Run) -> str:
    """The command that starts this run anew; finished steps are cached."""
    named = run.module if run.module.endswith(".py") else run.study
    words = ["overparam", "run", named, "--profile", run.profile, "--store", run.store]
    for name, value in json.loads(run.overrides).items():
        words += ["--set", f"{name}={as_setting(value)}"]
    return shlex.join(words)


def as_setting(value: Any) -> str:
    """A value as ``--set`` reads it back: ``1,2`` for a plain list, else JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value:
        items = [item if isinstance(item, str) else json.dumps(item) for item in value]
        if all(item.strip() == item != "" and not set(item) & set(",[{") for item in items):
            return ",".join(items)
    return json.dumps(value)


@task(**_options("report"), description="Judge the claims, draw the figures, write the page.")
def report(name: str, context: Context, records: list[StepRecord], flow_run_id: str) -> Any:
    """Make the report of a run; verdicts and figures are cached like any other step.

    The state holds the :class:`Report`.
    """
    command = rerun_command(context.run)
    made = make_report(
        context.plan,
        context.store,
        records,
        flow_run_id=flow_run_id,
        command=command,
        fresh=bool(context.forced),
    )
    publish_report(context.plan, records, made, command=command)
    if made.record.state == "cached":
        return Completed(
            name="Cached", message=f"in the store under {made.record.key[:8]}", data=made
        )
    return made
