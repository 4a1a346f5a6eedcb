"""The flow ``reproduce``: many studies, one after the other, on one pool of workers."""

from typing import Annotated

from prefect import flow
from pydantic import Field

from flows.study import (
    DeviceName,
    Fresh,
    ProfileName,
    StepsFailed,
    StoreAddress,
    StudyRun,
    WorkerCount,
    study,
)
from overparam.errors import BadInput
from overparam.studies import entries, find
from tasks import workers as worker_pool

StudyNames = Annotated[
    list[str], Field(description="Names of studies; empty means by theme or all")
]
Theme = Annotated[str | None, Field(description="Only the studies of this theme")]
FailFast = Annotated[bool, Field(description="Stop at the first study that fails")]


def chosen(studies: list[str], theme: str | None) -> list[str]:
    """The studies of a run: those named, or all available ones (of a theme) that have a paper.

    Raises:
        UnknownStudyError: a name is unknown.
        BadInput: no study has that theme; the themes there are, are listed.
    """
    if studies:
        return [find(name).study for name in studies]
    rows = [entry for entry in entries() if entry.paper]
    themes = sorted({entry.theme for entry in rows})
    if theme is not None and theme not in themes:
        raise BadInput(f"no study has the theme {theme!r}; themes: {', '.join(themes)}")
    return [e.study for e in rows if e.available and theme in (None, e.theme)]


@flow(
    name="reproduce",
    description="Re-run many studies; one that fails does not stop the others.",
    persist_result=False,
)
def reproduce(
    studies: StudyNames = [],  # noqa: B006 - Prefect shows the default in its form; never mutated
    theme: Theme = None,
    profile: ProfileName = "quick",
    store: StoreAddress = None,
    workers: WorkerCount = 1,
    device: DeviceName = "cpu",
    fresh: Fresh = False,
    fail_fast: FailFast = False,
) -> list[StudyRun]:
    """Run the studies.

    Raises:
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
