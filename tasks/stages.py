"""The five Prefect tasks: generate, train, compress, evaluate, report; one factory makes four."""

import json
import shlex
from dataclasses import dataclass
from typing import Any

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas import State, TaskRun
from prefect.runtime import task_run
from prefect.states import Cancelled, Completed, Failed
from prefect.tasks import exponential_backoff

from overparam.reporting import make_report
from overparam.store import DamagedArtifact, Store
from overparam.study import (
    Plan,
    StepFailed,
    StepRecord,
    Unit,
    cached_records,
    mending,
    missing_cells,
    record_of,
)
from overparam.study.steps import STAGES
from tasks.artifacts import ProgressArtifact, publish_report, publish_tables
from tasks.cache import cached_state
from tasks.pool import Pending, Request, Run, StepTimeout, WorkerDied, Workers

POLL_SECONDS = 1.0
IO_RETRIES = 2


@dataclass(frozen=True, eq=False)
class Context:
    """What every task of one run is given."""

    run: Run
    plan: Plan
    store: Store
    workers: Workers


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

    ``missing`` names what a unit needs and does not have; the task then ends as ``Skipped``.
    """

    @task(**_options(stage), description=f"Run a step of the stage {stage}.")
    def run_stage(name: str, context: Context, unit: Unit, missing: str = "") -> Any:
        plan, store = context.plan, context.store
        if missing:
            return Cancelled(name="Skipped", message=f"{name} needs {missing}")
        if not context.run.fresh:
            cached = cached_records(plan, unit, store)
            if cached is not None:
                return cached_state(cached)
        try:
            records = mending(
                plan,
                store,
                lambda: _in_worker(context, unit),
                produce=lambda again: _in_worker(context, again),
            )
        except (StepFailed, StepTimeout, WorkerDied, DamagedArtifact, MemoryError) as error:
            return Failed(message=_message(context, unit, error))
        except OSError as error:
            if task_run.run_count <= IO_RETRIES and _is_transient(error):
                raise
            return Failed(message=_message(context, unit, error))
        publish_tables(plan, unit, records, store)
        return records

    return run_stage


generate, train, compress, evaluate = (stage_task(stage) for stage in STAGES)
TASKS = dict(zip(STAGES, (generate, train, compress, evaluate), strict=True))


def _in_worker(context: Context, unit: Unit) -> list[StepRecord]:
    """Run what is missing of a unit in a worker, showing its progress."""
    plan, store = context.plan, context.store
    cells = unit.cells if context.run.fresh else missing_cells(plan, unit, store)
    pending = context.workers.submit(
        Request.of(context.run, plan, Unit(unit.step, cells)), unit.step.timeout
    )
    made = dict(zip(cells, _answer(pending, ProgressArtifact(unit)), strict=True))
    return [
        made.get(cell) or record_of(plan, cell, store, "cached", store.manifest(plan.ref(cell)))
        for cell in unit.cells
    ]


def _answer(pending: Pending, artifact: ProgressArtifact) -> list[StepRecord]:
    while (records := pending.wait(POLL_SECONDS)) is None:
        artifact.show(pending.progress)
    artifact.show(pending.progress)
    return records


def _message(context: Context, unit: Unit, error: Exception) -> str:
    """Study, step, cell, cause, and the command that runs again what is missing."""
    text = str(error)
    cause = text if text.startswith(unit.name) else f"{unit.name}: {text}"
    return f"{cause}\nRun again what is missing: {rerun_command(context.run)}"


def rerun_command(run: Run) -> str:
    """The command that starts this run anew; finished steps are cached."""
    named = run.module if run.module.endswith(".py") else run.study
    words = ["overparam", "run", named, "--profile", run.profile, "--store", run.store]
    for name, value in json.loads(run.overrides).items():
        words += ["--set", f"{name}={_as_setting(value)}"]
    return shlex.join(words)


def _as_setting(value: Any) -> str:
    """A value as ``--set`` reads it back: ``1,2`` for a plain list, JSON where that would not do."""
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
    made = make_report(
        context.plan,
        context.store,
        records,
        flow_run_id=flow_run_id,
        command=rerun_command(context.run),
        fresh=context.run.fresh,
    )
    publish_report(context.plan.study.name, made.verdicts, made.page)
    if made.record.state == "cached":
        return Completed(name="Cached", message=f"in the store under {made.record.key}", data=made)
    return made
