"""The flow ``study``: one study, its steps as Prefect tasks, a report at the end."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from prefect.utilities.annotations import quote
from pydantic import Field

from flows.display import Silent, current_display, tally
from flows.history import VerdictChange, changed_verdicts, previous, record_run
from flows.naming import run_name
from flows.notices import announce
from flows.scheduling import run_units
from flows.wishes import Wish
from overparam.reporting import Report, failed_report
from overparam.store import Store, StoreError, pinned_by_run
from overparam.studies import find, load
from overparam.study import StepRecord, artifact_refs, make_plan
from tasks import Context, Run, as_setting, report, steps_are_limited, workers

Profile = Literal["quick", "full"]
Settings = dict[str, Any]
WorkerCount = Annotated[int, Field(ge=1, le=256)]


@dataclass(frozen=True)
class StudyRun:
    """What became of one study in one flow run; ``name`` is what was asked for (a file, maybe)."""

    name: str
    study: str
    profile: str
    config: dict[str, Any]
    flow_run_id: str
    steps: Sequence[StepRecord]
    verdicts: Sequence[dict[str, Any]]
    report: str
    tasks: int
    changes: Sequence[VerdictChange] = field(default=())
    answer: str = ""

    @property
    def failed(self) -> list[StepRecord]:
        """The cells that failed (not those skipped because of them)."""
        return [record for record in self.steps if record.state == "failed"]

    def to_dict(self) -> dict[str, Any]:
        """The row of the command line's JSON."""
        return {
            "study": self.study,
            "profile": self.profile,
            "config": self.config,
            "flow_run_id": self.flow_run_id,
            "steps": [record.to_dict() for record in self.steps],
            "verdicts": list(self.verdicts),
            "report": self.report,
        }


class StepsFailed(RuntimeError):
    """Some steps failed; the rest ran, and ``runs`` tells which."""

    def __init__(self, runs: Sequence[StudyRun]) -> None:
        self.runs = runs
        failed = [record for run in runs for record in run.failed]
        first = failed[0].error.partition("\n")[0] if failed else ""
        super().__init__(f"{len(failed)} of {sum(len(r.steps) for r in runs)} failed; {first}")


def _run_name() -> str:
    """``parameter-sharing · quick · seeds=3``; of a study file its name, not its folder."""
    given = flow_run.parameters
    name = given["study"]
    words = [
        Path(name).stem if name.endswith(".py") else name,
        given["profile"],
        *(f"{field}={as_setting(value)}" for field, value in given["settings"].items()),
        *(["fresh"] if given["fresh"] else []),
        *([f"from {given['from_step']}"] if given["from_step"] else []),
        *(f"only {field}={value}" for field, value in given["only"].items()),
    ]
    return run_name(words)


@flow(name="study", flow_run_name=_run_name, persist_result=False)
def study(
    study: str,
    profile: Profile = "quick",
    settings: Settings = {},  # noqa: B006 - Prefect shows the default in its form; never mutated
    store: str | None = None,
    workers: WorkerCount = 1,
    device: str = "cpu",
    fresh: bool = False,
    from_step: str | None = None,
    only: Settings = {},  # noqa: B006 - as settings
) -> StudyRun:
    """Re-run a paper's experiment and say of each of its claims whether it held.

    Args:
        study: name of a study (see `overparam list`), or the path of a study file
        profile: quick decides in seconds what it can, full is as the paper asks
        settings: config fields to override; what is left out is as the profile says
        store: address of the store, empty for the default
        workers: worker processes at once, one torch thread each
        device: where torch computes; cpu is the reference
        fresh: run every step again, whatever is stored
        from_step: run this step and all that reads it again, whatever is stored
        only: values of cells to run, e.g. {"seed": 3}; the other cells stay as they are stored

    Raises:
        BadInput, StoreError: nothing has run.
        StepsFailed: a step failed; what did not need it ran, and the report shows what there is.
    """
    wish = Wish(fresh=fresh, from_step=from_step, only=only)
    return run_study(study, profile, settings, store, workers, device, wish)


def run_study(
    name: str,
    profile: str,
    settings: Settings,
    store_address: str | None,
    worker_count: int,
    device: str,
    wish: Wish,
) -> StudyRun:
    """The body of the flow ``study``."""
    entry = find(name)
    plan = make_plan(load(name), profile, settings)
    wish.check(plan)
    store = Store.open(store_address)
    store.check_writable()
    run_id = str(flow_run.id or "")
    _tag(run_id, {entry.theme, profile})
    run = Run(
        module=entry.module,
        study=entry.study,
        profile=profile,
        overrides=json.dumps(settings),
        store=store.address,
        device=device,
    )
    preload = () if entry.module.endswith(".py") else (entry.module,)
    display = current_display.get() or Silent()
    with (
        pinned_by_run(store, artifact_refs(plan)),
        workers(worker_count, preload) as pool,
        display.run(plan, pool),
    ):
        context = Context(run, plan, store, pool, wish.forced(plan), steps_are_limited())
        records = run_units(context, display, wish.wants)
        made = _report(context, records, run_id)
    result = StudyRun(
        name=name,
        study=entry.study,
        profile=profile,
        config=plan.config.model_dump(mode="json"),
        flow_run_id=run_id,
        steps=[*records, made.record],
        verdicts=made.verdicts,
        report=made.page,
        answer=made.answer,
        tasks=len(plan.units) + 1,
    )
    again = str(Path(name).absolute()) if name.endswith(".py") else name
    try:
        record = record_run(store, run_id, again, settings, result.to_dict())
    except (StoreError, OSError):
        if result.failed:  # the steps have told of the same full disk already
            raise StepsFailed([result]) from None
        raise
    changes = changed_verdicts(previous(store, record), record)
    announce(changes)
    result = replace(result, changes=changes)
    if result.failed:
        raise StepsFailed([result])
    return result


def _tag(run_id: str, tags: set[str]) -> None:
    """Add tags to a flow run, so that the UI's lists can be narrowed to a theme or a profile."""
    with get_client(sync_client=True) as client:
        known = set(client.read_flow_run(UUID(run_id)).tags)
        if not tags <= known:
            client.update_flow_run(UUID(run_id), tags=sorted(known | tags))


def _report(context: Context, records: Sequence[StepRecord], run_id: str) -> Report:
    """Run the report task; a report that fails is a failed step like any other."""
    plan = context.plan
    name = f"report · {plan.study.name}"
    future = report.submit(name, quote(context), quote(records), run_id)  # type: ignore[call-overload]
    future.wait()
    if future.state.is_completed():
        return future.result()
    return Report([], "", failed_report(plan, future.state.message or ""))


def summary(run: StudyRun) -> str:
    """``parameter-sharing (quick): 3 completed, 2 cached``."""
    return f"{run.study} ({run.profile}): {tally(run.steps)}"
