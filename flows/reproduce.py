"""The flow ``reproduce``: many studies, one after the other, on one pool of workers."""

from contextlib import suppress
from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run

from flows.display import tally
from flows.naming import run_name
from flows.notices import publish_overview
from flows.study import Profile, StepsFailed, StudyRun, WorkerCount, study
from overparam.errors import BadInput, DeclarationError
from overparam.reporting.words import counted
from overparam.store import Store
from overparam.studies import entries, find
from overparam.study import StepRecord
from overparam.study.execution import State
from tasks import workers as worker_pool

WHOLE = "study"
"""The step and stage of the one record of a study that did not get as far as its steps."""


def chosen(studies: list[str], theme: str | None) -> list[str]:
    """The studies of a run: those named, or all (of a theme) that have a paper.

    Raises:
        UnknownStudyError: a name is unknown.
        BadInput: no study has that theme; the themes there are, are listed.
    """
    if studies:
        for name in studies:
            with suppress(DeclarationError):  # that study's failure, not that of the others
                find(name)
        return studies
    rows = [entry for entry in entries() if entry.paper]
    themes = sorted({entry.theme for entry in rows})
    if theme is not None and theme not in themes:
        raise BadInput(f"no study has the theme {theme!r}; themes: {', '.join(themes)}")
    return [entry.study for entry in rows if theme in (None, entry.theme)]


def not_run(name: str, profile: str, state: State, why: str) -> StudyRun:
    """A study of which no step was tried: ``skipped``, or ``failed`` before its first step."""
    study_name = Path(name).stem if name.endswith(".py") else name
    record = StepRecord(study_name, WHOLE, WHOLE, {}, "", state, error=f"{name}: {why}")
    return StudyRun(name, study_name, profile, {}, "", [record], [], "", 0)


def _missing(name: str) -> str:
    """What to install before a study can run; empty if nothing, or if its file can't be read."""
    try:
        entry = find(name)
    except DeclarationError:
        return ""
    return "" if entry.available else f"needs an extra: {entry.install_line}"


def _run_name() -> str:
    given = flow_run.parameters
    studies = given["studies"]
    what = " ".join(studies) if studies else f"all of {given['theme']}" if given["theme"] else "all"
    return f"{run_name([what])} · {given['profile']}"


def overview_row(run: StudyRun) -> dict[str, str]:
    """What became of a study, as a row for the UI."""
    return {
        "study": run.study,
        "steps": tally(run.steps),
        "verdicts": counted([row["verdict"] for row in run.verdicts]),
        "changed": "; ".join(f"{c.claim}: {c.before} → {c.after}" for c in run.changes),
        "why": "; ".join(r.error.partition("\n")[0] for r in run.failed) or _whole_error(run),
    }


def _whole_error(run: StudyRun) -> str:
    return next((record.error for record in run.steps if record.step == WHOLE), "")


@flow(name="reproduce", flow_run_name=_run_name, persist_result=False)
def reproduce(
    studies: list[str] = [],  # noqa: B006 - Prefect shows the default in its form; never mutated
    theme: str | None = None,
    profile: Profile = "quick",
    store: str | None = None,
    workers: WorkerCount = 1,
    device: str = "cpu",
    fresh: bool = False,
    fail_fast: bool = False,
) -> list[StudyRun]:
    """Re-run many studies; one that fails does not stop the others, nor one that can't be imported.

    A study whose extra is not installed is skipped, and the pip line told.

    Args:
        studies: names of studies; empty means all, or all of the theme
        theme: only the studies of this theme
        profile: quick decides in seconds what it can, full is as the papers ask
        store: address of the store, empty for the default
        workers: worker processes at once, one torch thread each
        device: where torch computes; cpu is the reference
        fresh: run every step again, whatever is stored
        fail_fast: stop at the first study that fails

    Raises:
        BadInput, StoreError: nothing has run.
        StepsFailed: in at least one of them a step failed; ``runs`` holds all that ran.
    """
    names = chosen(studies, theme)
    Store.open(store).check_writable()
    runs: list[StudyRun] = []
    with worker_pool(workers):
        for name in names:
            if why := _missing(name):
                runs.append(not_run(name, profile, "skipped", why))
                continue
            try:
                runs.append(study(name, profile, {}, store, workers, device, fresh))
            except StepsFailed as failure:
                runs += failure.runs
            except Exception as error:  # its file does not import, or is declared wrongly
                runs.append(not_run(name, profile, "failed", f"{type(error).__name__}: {error}"))
            if fail_fast and runs[-1].failed:
                break
    publish_overview(profile, [overview_row(run) for run in runs])
    if any(run.failed for run in runs):
        raise StepsFailed(runs)
    return runs
