"""The flow ``reproduce``: many studies, one after the other, on one pool of workers."""

from prefect import flow

from flows.study import Profile, StepsFailed, StudyRun, WorkerCount, study
from overparam.errors import BadInput
from overparam.studies import entries, find
from tasks import workers as worker_pool


def chosen(studies: list[str], theme: str | None) -> list[str]:
    """The studies of a run: those named, or all available ones (of a theme) that have a paper.

    Raises:
        UnknownStudyError: a name is unknown.
        BadInput: no study has that theme; the themes there are, are listed.
    """
    if studies:
        for name in studies:
            find(name)
        return studies
    rows = [entry for entry in entries() if entry.paper]
    themes = sorted({entry.theme for entry in rows})
    if theme is not None and theme not in themes:
        raise BadInput(f"no study has the theme {theme!r}; themes: {', '.join(themes)}")
    return [e.study for e in rows if e.available and theme in (None, e.theme)]


@flow(name="reproduce", persist_result=False)
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
    """Re-run many studies; one that fails does not stop the others.

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
    runs: list[StudyRun] = []
    failed = False
    with worker_pool(workers):
        for name in chosen(studies, theme):
            try:
                runs.append(study(name, profile, {}, store, workers, device, fresh))
            except StepsFailed as failure:
                runs += failure.runs
                failed = True
                if fail_fast:
                    break
    if failed:
        raise StepsFailed(runs)
    return runs
