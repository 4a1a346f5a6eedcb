"""``overparam rerun``, ``compare``, ``serve`` and ``ui``."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.options import (
    EphemeralOption,
    JsonOption,
    StoreOption,
    VerboseOption,
    WorkersOption,
)
from flows.cli.running import run_and_tell, worker_count
from overparam.errors import BadInput


def rerun(
    flow_run: Annotated[
        str, typer.Argument(help="Id of a flow run, or its beginning.", show_default=False)
    ],
    from_step: Annotated[
        str | None,
        typer.Option("--from", metavar="STEP", help="Run this step and all below it again."),
    ] = None,
    only: Annotated[
        list[str],
        typer.Option("--only", metavar="NAME=VALUE", help="Only cells with this value."),
    ] = [],  # noqa: B006 - Typer reads the default; never mutated
    store: StoreOption = None,
    workers: WorkersOption = None,
    device: Annotated[
        str | None, typer.Option(help="Where torch computes.", show_default="as recorded")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run everything again.")] = False,
    ephemeral: EphemeralOption = False,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Start a flow run anew with its recorded parameters: finished steps are cached.

    Works for a run of another process or machine that shares the store (and the server, where the
    store has no record of it).

    Examples:

        overparam rerun 1a2b3c4d

        overparam rerun 1a2b3c4d --from trained --only seed=3
    """
    from flows.recorded import recorded_parameters
    from flows.reproduce import reproduce
    from flows.study import StepsFailed, StudyRun, study

    cells = dict(_name_and_value(text) for text in only)
    found = recorded_parameters(flow_run, store, ephemeral=ephemeral)
    if found.many and (from_step or cells):
        raise BadInput(
            f"{flow_run} is a run of many studies; --from and --only take the run of one of them"
        )

    def start() -> list[StudyRun]:
        place = (found.store, worker_count(workers), device or found.device, fresh)
        try:
            if found.many:
                return reproduce(  # type: ignore[call-overload]
                    found.studies, found.theme, found.profile, *place
                )
            (name,) = found.studies
            return [
                study(  # type: ignore[call-overload]
                    name, found.profile, found.settings, *place, from_step, cells
                )
            ]
        except StepsFailed as failure:
            return list(failure.runs)

    run_and_tell(start, found.store, ephemeral=ephemeral, as_json=as_json)


def compare(
    left: Annotated[str, typer.Argument(help="Id of a run, or its beginning.")],
    right: Annotated[str, typer.Argument(help="Id of another run.")],
    html: Annotated[
        Path | None, typer.Option(help="Write a page to this file.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show what is equal, too.")] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Compare two runs: configs, keys, verdicts, effects with intervals, seconds.

    Example: overparam compare 1a2b3c4d 5e6f7a8b --html difference.html
    """
    from flows.cli.tables import print_comparison
    from flows.compare import compare as compare_runs
    from flows.history import find_record
    from overparam.reporting import comparison_page
    from overparam.store import Store

    opened = Store.open(store)
    found = compare_runs(find_record(opened, left), find_record(opened, right))
    if html is not None:
        html.write_text(comparison_page(found.to_dict()), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2))
        return
    print_comparison(found, everything=everything)
    if html is not None:
        typer.echo(f"Page: {html}")


def serve(
    studies: Annotated[
        list[str] | None,
        typer.Argument(help="Studies with a form of their own.", show_default="all"),
    ] = None,
    store: StoreOption = None,
    workers: WorkersOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Flow runs at once, of all deployments.")] = 1,
    overlap: Annotated[
        int, typer.Option(min=1, help="Runs of one deployment at once; more wait.")
    ] = 1,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Heavy steps at once on this server, all runs together."),
    ] = None,
    nightly: Annotated[
        str, typer.Option(metavar="CRON", help="When quick profiles run; empty for never.")
    ] = "0 3 * * *",
    weekly: Annotated[
        str, typer.Option(metavar="CRON", help="When full profiles run; empty for never.")
    ] = "0 4 * * 6",
    verbose: VerboseOption = False,
) -> None:
    """Serve all deployments until stopped: schedules run, the UI's buttons work.

    Starts the local server if no API is configured. SIGTERM and Ctrl-C stop it gracefully.

    Examples:

        overparam serve --nightly "30 2 * * *"

        overparam serve my_study.py --nightly "" --weekly ""
    """
    from flows.serving import serve_deployments

    serve_deployments(
        studies or [],
        store=store,
        workers=worker_count(workers),
        limit=limit,
        overlap=overlap,
        steps=steps,
        nightly=nightly,
        weekly=weekly,
    )


def ui() -> None:
    """Open the Prefect UI in the browser (the local server is started if none is configured)."""
    from flows.server import ensure_api

    api = ensure_api()
    typer.echo(api.ui)
    typer.launch(api.ui)


def _name_and_value(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (equals and name):
        raise BadInput(f"--only takes name=value, got {text!r}")
    return name, value
