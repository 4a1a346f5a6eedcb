"""``overparam verdicts`` and ``overparam report``: what was found, recorded and shown."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from flows.cli.options import JsonOption, Profile, ProfileOption, StoreOption, VerboseOption
from overparam.studies import entries, find, load


def verdicts(
    studies: Annotated[
        list[str] | None, typer.Argument(help="Names of studies.", show_default="all")
    ] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Record the store's newest full verdicts first.")
    ] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Show the recorded verdicts of the full profiles; mark those measured with other code.

    Examples:

        overparam verdicts

        overparam verdicts parameter-sharing --record
    """
    from overparam.reporting import record_verdicts, recorded_verdicts
    from overparam.store import Store

    chosen = _chosen(studies)
    opened = Store.open(store)
    found = {
        name: record_verdicts(load(name), opened) if record else recorded_verdicts(load(name))
        for name in chosen
    }
    if record:
        from flows.pages import update_scoreboard

        update_scoreboard()
    if as_json:
        rows = {name: [asdict(row) for row in claims.values()] for name, claims in found.items()}
        typer.echo(json.dumps(rows, indent=2))
        return
    from flows.cli.tables import print_recorded

    print_recorded(found)


def report(
    studies: Annotated[
        list[str] | None, typer.Argument(help="Names of studies.", show_default="all")
    ] = None,
    profile: ProfileOption = Profile.quick,
    store: StoreOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Write the pages and the index anew from what is stored; runs no step.

    Example: overparam report parameter-sharing --profile full
    """
    from flows.pages import write_pages
    from overparam.store import Store

    chosen = _chosen(studies)
    written, index = write_pages(chosen, profile.value, Store.open(store))
    for found in written:
        typer.echo(f"{found.study}: {found.page or found.why}")
    typer.echo(f"index: {index}")


def _chosen(studies: list[str] | None) -> list[str]:
    """The studies named (files, too), or all available ones that have a paper."""
    for name in studies or []:
        find(name)
    return studies or [e.study for e in entries() if e.paper and e.available]
