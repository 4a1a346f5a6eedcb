"""``overparam run``, ``reproduce`` and ``why``."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import (
    DeviceOption,
    EphemeralOption,
    FreshOption,
    JsonOption,
    Profile,
    ProfileOption,
    Settings,
    StoreOption,
    Studies,
    VerboseOption,
    WorkersOption,
)
from overparam.errors import BadInput, DeclarationError
from overparam.studies import find, load

if TYPE_CHECKING:
    from flows.server import Api
    from flows.study import StudyRun


def run(
    studies: Studies,
    profile: ProfileOption = Profile.quick,
    settings: Settings = [],  # noqa: B006 - Typer reads the default; never mutated
    store: StoreOption = None,
    workers: WorkersOption = None,
    device: DeviceOption = "cpu",
    fresh: FreshOption = False,
    ephemeral: EphemeralOption = False,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Re-run a paper's experiment and say, claim by claim, whether it held.

    Steps whose inputs and code have not changed are read from the store.

    Examples:

        overparam run parameter-sharing

        overparam run parameter-sharing --set "compressions=1,50" --set seeds=3

        overparam run parameter-sharing --profile full --workers 2 --json
    """
    chosen = []
    for name in studies:
        config = load(name).config
        chosen.append((_absolute(name), dict(config.parse_setting(text) for text in settings)))
    for name, overrides in chosen:
        load(name).config.for_profile(profile.value, overrides)

    def start() -> "list[StudyRun]":
        from flows.study import StepsFailed, study

        runs: list[StudyRun] = []
        for name, overrides in chosen:
            try:
                runs.append(
                    study(
                        name, profile.value, overrides, store, worker_count(workers), device, fresh
                    )
                )
            except StepsFailed as failure:
                runs += failure.runs
        return runs

    run_and_tell(start, store, ephemeral=ephemeral, as_json=as_json)


def reproduce(
    studies: Annotated[
        list[str] | None, typer.Argument(help="Names of studies.", show_default=False)
    ] = None,
    theme: Annotated[str | None, typer.Option(help="Only the studies of this theme.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All studies.")] = False,
    profile: ProfileOption = Profile.quick,
    store: StoreOption = None,
    workers: WorkersOption = None,
    device: DeviceOption = "cpu",
    fresh: FreshOption = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first study that fails.")
    ] = False,
    ephemeral: EphemeralOption = False,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Re-run many studies; one that fails does not stop the others.

    A study whose extra is not installed is skipped, and the pip line told.

    Examples:

        overparam reproduce --all

        overparam reproduce --theme compression --profile full
    """
    named = list(studies or [])
    if sum([bool(named), theme is not None, everything]) != 1:
        raise BadInput("reproduce takes names of studies, or --theme, or --all")
    for name in named:
        with suppress(DeclarationError):  # told as that study's failure; the others run
            find(name)

    def start() -> "list[StudyRun]":
        from flows.reproduce import reproduce as flow
        from flows.study import StepsFailed

        try:
            return flow(
                named, theme, profile.value, store, worker_count(workers), device, fresh, fail_fast
            )
        except StepsFailed as failure:
            return list(failure.runs)

    run_and_tell(start, store, ephemeral=ephemeral, as_json=as_json)


def why(
    study: Annotated[str, typer.Argument(help="Name of a study, or the path of a study file.")],
    profile: ProfileOption = Profile.quick,
    settings: Settings = [],  # noqa: B006 - Typer reads the default; never mutated
    store: StoreOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Say for each step whether it would run, and what changed since it last did.

    Example: overparam why parameter-sharing --set epochs=20
    """
    from overparam.store import Store
    from overparam.study import make_plan
    from overparam.study.why import explain

    loaded = load(study)
    overrides = dict(loaded.config.parse_setting(text) for text in settings)
    rows = explain(make_plan(loaded, profile.value, overrides), Store.open(store))
    if as_json:
        typer.echo(json.dumps({"steps": [row.to_dict() for row in rows]}, indent=2))
        return
    for row in rows:
        mark = typer.style("would run", fg="yellow") if row.would_run else "stored"
        typer.echo(f"{mark:<9}  {row.name}")
        for change in row.changes:
            typer.echo(f"             {change}")


def _absolute(name: str) -> str:
    """A study file by its absolute path, so that it is found again from anywhere."""
    return os.path.abspath(name) if name.endswith(".py") else name


def worker_count(workers: int | None) -> int:
    return workers or os.cpu_count() or 1


def run_and_tell(
    start: "Callable[[], list[StudyRun]]",
    store: str | None,
    *,
    ephemeral: bool,
    as_json: bool,
    tell: "Callable[[list[StudyRun], Api | None], None] | None" = None,
) -> None:
    """Run flows against an API, print what came out, and exit with its status.

    Args:
        tell: prints what came out, where that is not a list of verdicts.
    """
    from overparam.store import Store

    Store.open(store)
    with _api(ephemeral) as api, _display(quiet=as_json), _kept_for_json(as_json):
        runs = start()
        if ephemeral:
            _wait_for_records(runs)
    if tell is not None:
        tell(runs, api)
    elif as_json:
        typer.echo(json.dumps({"runs": [run.to_dict() for run in runs]}, indent=2))
    else:
        from flows.cli.tables import print_runs

        print_runs(runs, api)
    if any(run.failed for run in runs):
        raise typer.Exit(1)


@contextmanager
def _api(ephemeral: bool) -> "Iterator[Api | None]":
    from flows.server import api_for_run

    with api_for_run(ephemeral=ephemeral) as api:
        if api is not None and api.origin == "started":
            typer.echo(
                f"Started a local Prefect server: {api.ui} (stop it: overparam server stop)",
                err=True,
            )
        yield api


@contextmanager
def _display(*, quiet: bool) -> Iterator[None]:
    from rich.console import Console

    from flows.bars import Bars
    from flows.display import Silent, current_display

    token = current_display.set(Silent() if quiet else Bars(Console(stderr=True)))
    try:
        yield
    finally:
        current_display.reset(token)


@contextmanager
def _kept_for_json(as_json: bool) -> Iterator[None]:
    """Keep standard output for the JSON: what steps, their workers and libraries print goes beside.

    By file descriptor, since workers and C code know no ``sys.stdout`` of ours.
    """
    if not as_json:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _wait_for_records(runs: "Sequence[StudyRun]") -> None:
    from flows.server import wait_for_records

    for run in filter(lambda run: run.flow_run_id, runs):
        if not wait_for_records(run.flow_run_id, run.tasks):
            print(
                f"overparam: not all task runs of {run.study} reached the ephemeral server",
                file=sys.stderr,
            )
