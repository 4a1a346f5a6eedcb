"""The report stage, the same for every study: judge the claims, draw the figures, write the page.

Verdicts and figures are an artifact like any other, kept under a key that holds what the claims and
figures read and their code: a rerun with nothing new draws nothing, and writes the page anew from
the stored parts, since the page also tells of the run itself.
"""

import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from overparam.errors import StepFailed
from overparam.reporting.figures import draw_figures, written_answer
from overparam.reporting.keys import STEP, page_name, report_parts, report_ref
from overparam.reporting.page import write_page
from overparam.reporting.recorded import Recorded, recorded_verdicts
from overparam.store import ArtifactRef, Manifest, Store, pin_for_page
from overparam.study import Plan, StepRecord, artifact_refs, mending, verdicts_of
from overparam.study.execution import installed_versions


@dataclass(frozen=True)
class Report:
    """What the report stage leaves: verdict rows, the page's address, and the step's record.

    ``answer`` is the sentence of a study without claims, else empty.
    """

    verdicts: list[dict[str, Any]]
    page: str
    record: StepRecord
    answer: str = ""


@dataclass(frozen=True)
class Content:
    """What a page shows.

    Attributes:
        plan: the study, its config and cells.
        verdicts: rows of ``ClaimVerdict.to_dict``.
        recorded: the recorded full verdicts, by claim, where this profile leaves claims undecided.
        figures: rows of :func:`draw_figures`.
        answer: of a study without claims, else empty.
        records: what became of each cell in this run; empty when made from the store alone.
        command: runs the study again.
    """

    plan: Plan
    verdicts: Sequence[Mapping[str, Any]]
    recorded: Mapping[str, Recorded]
    figures: Sequence[Mapping[str, Any]]
    answer: str
    records: Sequence[StepRecord]
    command: str
    flow_run_id: str
    versions: Mapping[str, str]
    made: datetime


def make_report(
    plan: Plan,
    store: Store,
    records: Sequence[StepRecord],
    *,
    command: str,
    flow_run_id: str = "",
    fresh: bool = False,
) -> Report:
    """Judge, draw and write the page of a run.

    Raises:
        StepFailed: a claim's function raised. A figure that raises is shown as such on the page,
            and the record is that of a failed step.
    """
    ref = report_ref(plan)
    manifest = None if fresh else store.manifest(ref)
    state = "completed" if manifest is None else "cached"
    if manifest is None:
        manifest = mending(plan, store, lambda: _compute(plan, store, ref))
    tables = store.read(ref)
    verdicts = [json.loads(row) for row in tables["verdicts"]["row"]]
    figures = [
        {str(name): value for name, value in row.items()}
        for row in tables["figures"].to_dict("records")
    ]
    record = _record(plan, store, manifest, state)
    errors = [f"{row['title']}: {row['error']}" for row in figures if row["error"]]
    if errors:
        record = replace(record, state="failed", error="figure " + "; ".join(errors))
    content = Content(
        plan=plan,
        verdicts=verdicts,
        recorded=_recorded(plan, verdicts),
        figures=figures,
        answer=tables["answer"]["text"][0],
        records=[*records, record],
        command=command,
        flow_run_id=flow_run_id,
        versions={"python": platform.python_version(), **installed_versions()},
        made=datetime.now(UTC),
    )
    page = store.reports / plan.study.name / f"{page_name(plan)}.html"
    write_page(content, page)
    pin_for_page(store, page, [*artifact_refs(plan), ref])
    return Report(verdicts, str(page), record, content.answer)


def _compute(plan: Plan, store: Store, ref: ArtifactRef) -> Manifest:
    started = time.perf_counter()
    try:
        rows = [verdict.to_dict() for verdict in verdicts_of(plan, store)]
    except StepFailed as error:
        raise StepFailed(f"report · {plan.study.name}: {error}") from error
    verdicts = pd.DataFrame(
        {
            "claim": [row["name"] for row in rows],
            "verdict": [row["verdict"] for row in rows],
            "effect": [row["effect"] for row in rows],
            "low": [row["low"] for row in rows],
            "high": [row["high"] for row in rows],
            "row": [json.dumps(row) for row in rows],
        }
    )
    figures = draw_figures(plan, store)
    meta = {
        **report_parts(plan),
        "overridden": page_name(plan) != plan.profile,
        "seconds": time.perf_counter() - started,
        "versions": installed_versions(),
    }
    answer = pd.DataFrame({"text": [written_answer(plan, store)]})
    made = {"verdicts": verdicts, "figures": figures, "answer": answer}
    return store.write(ref, made, meta=meta)


def _recorded(plan: Plan, verdicts: Sequence[Mapping[str, Any]]) -> Mapping[str, Recorded]:
    """The recorded full verdicts, looked up only where this run leaves a claim undecided."""
    if plan.profile == "full" or all(row["verdict"] != "undecided" for row in verdicts):
        return {}
    return recorded_verdicts(plan.study)


def failed_report(plan: Plan, error: str) -> StepRecord:
    """The record of a report that could not be made."""
    key = report_ref(plan).key
    return StepRecord(plan.study.name, STEP, STEP, {}, key, "failed", error=error)


def _record(plan: Plan, store: Store, manifest: Manifest, state: Any) -> StepRecord:
    return StepRecord(
        study=plan.study.name,
        step=STEP,
        stage=STEP,
        cell={},
        key=manifest.key,
        state=state,
        seconds=float(str(manifest.meta.get("seconds", 0.0))),
        rows=manifest.rows,
        bytes=manifest.bytes,
        path=str(store.folder(manifest.ref)),
        tables={n: {"rows": t.rows, "bytes": t.bytes} for n, t in manifest.tables.items()},
    )
