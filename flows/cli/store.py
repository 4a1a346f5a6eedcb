"""``overparam clean``: remove what nobody needs any more."""

from datetime import timedelta
from typing import Annotated

import typer

from flows.cli.options import JsonOption, StoreOption, VerboseOption


def clean(
    study: Annotated[str | None, typer.Option(help="Only what belongs to this study.")] = None,
    older_than: Annotated[
        int | None, typer.Option(metavar="DAYS", min=0, help="Only what is older than this.")
    ] = None,
    superseded: Annotated[
        bool, typer.Option("--superseded", help="Artifacts of which the same cell has a newer one.")
    ] = False,
    orphans: Annotated[
        bool, typer.Option("--orphans/--no-orphans", help="Files that no manifest names.")
    ] = True,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it, only tell.")] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Tell what could be removed, and remove it with --yes.

    What a running flow reads or a report links to is never removed.

    Examples:

        overparam clean --superseded

        overparam clean --study parameter-sharing --older-than 30 --yes
    """
    import json

    from overparam.store import Store, apply_clean, pinned, plan_clean

    opened = Store.open(store)
    removals = plan_clean(
        opened,
        study=study,
        older_than=None if older_than is None else timedelta(days=older_than),
        superseded=superseded,
        orphans=orphans,
        protected=pinned(opened),
    )
    freed = apply_clean(removals) if yes else sum(removal.bytes for removal in removals)
    if as_json:
        rows = [{"path": str(r.path), "bytes": r.bytes, "why": r.why} for r in removals]
        typer.echo(json.dumps({"removed": yes, "bytes": freed, "removals": rows}, indent=2))
        return
    for removal in removals:
        typer.echo(f"{removal.bytes:>12,} B  {removal.path}  ({removal.why})")
    verb = "Removed" if yes else "Would remove (say --yes)"
    typer.echo(f"{verb}: {len(removals)} places, {freed / 1e6:.1f} MB")
